//! What a server says when it refuses, in the words of the command line.
//!
//! A server speaks of the parameters of its REST interface. Most options have their names; who typed an option
//! is told of that.

use serde::Deserialize;

/// What REST calls things that are options here.
const OPTIONS: [(&str, &str); 7] = [
    ("absent=wait", "--wait"),
    ("receipts=yes", "--receipts"),
    ("the header Idempotency-Key", "--key"),
    ("`vins`", "--vin or --vins"),
    ("as in rate=", "as in --rate "),
    ("after=0", "--after 0"),
    ("the parameter ", "--"),
];

/// The part of an error that people read: of a problem document, or as the paths of the bus have it.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Said {
    Problem {
        detail: String,
        #[serde(flatten)]
        of: Traced,
    },
    Platform {
        message: String,
    },
}

/// The message that a problem of a request is about.
#[derive(Deserialize)]
pub(super) struct Traced {
    id: Option<String>,
    step: Option<String>,
}

impl Said {
    /// One sentence or two. The title of a problem is left out: its detail says the same and more.
    pub(super) fn text(self) -> String {
        let (detail, of) = match self {
            Self::Problem { detail, of } => (detail, Some(of)),
            Self::Platform { message } => (message, None),
        };
        let mut text = detail;
        for (parameter, option) in OPTIONS {
            text = text.replace(parameter, option);
        }
        match of {
            Some(Traced {
                id: Some(id),
                step: Some(_),
            }) => format!("{text}; `host-server trace {id}` tells each step"),
            _ => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(document: &str) -> String {
        serde_json::from_str::<Said>(document).unwrap().text()
    }

    #[test]
    fn parameters_are_told_as_options_and_once() {
        let check = |detail: &str, expected: &str| {
            let document =
                format!(r#"{{"type":"t","title":"No","status":400,"detail":"{detail}"}}"#);
            assert_eq!(text(&document), expected);
        };
        check(
            "it is offline; absent=wait waits",
            "it is offline; --wait waits",
        );
        check(
            "the parameter rate is 0; write 1 to 9, as in rate=9",
            "--rate is 0; write 1 to 9, as in --rate 9",
        );
        check("go on with after=0", "go on with --after 0");
        check(
            "widen it, or use `vins`",
            "widen it, or use --vin or --vins",
        );
    }

    #[test]
    fn a_request_that_is_over_is_told_with_where_its_steps_are() {
        let document = r#"{"title":"No","detail":"late","id":"01M","step":"held"}"#;
        assert_eq!(
            text(document),
            "late; `host-server trace 01M` tells each step"
        );
        assert_eq!(
            text(r#"{"title":"No","detail":"a webhook","id":"7"}"#),
            "a webhook"
        );
        assert_eq!(text(r#"{"message":"no such client"}"#), "no such client");
    }
}
