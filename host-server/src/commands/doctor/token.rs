//! The token of a client of the bus: what it says of itself. Whether it is true is the broker's to judge.

use serde_json::Value;

use super::certificates::{CLOCKS_DIFFER_S, date, now};
use super::report::{Report, foreign};
use crate::bus;

/// What a broker of the bus asks for beside the token, whatever it is.
pub(super) const PASSWORD: &str = "token";

/// Whether `text` looks like a token, which is a secret.
pub(super) fn is_one(text: &str) -> bool {
    bus::shown(text).is_ok()
}

/// Says whom the token stands for, and how its times lie to the local time.
pub(super) fn check(report: &mut Report, token: &str) {
    const CHECK: &str = "token";
    let claims = match bus::shown(token) {
        Ok((_, claims)) => claims,
        Err(error) => {
            let advice =
                "give the file with the access token alone, as the platform issued it (JWT)";
            report.failed(CHECK, error.to_string(), advice);
            return;
        }
    };
    let (client, now) = (client(&claims), now());
    let local = date(now);
    match (claims["exp"].as_i64(), claims["iat"].as_i64()) {
        (Some(exp), _) if exp <= now => report.failed(
            CHECK,
            format!("of {client}, valid until {}; local time {local}", date(exp)),
            "get a new one from the platform; if it is new, set this machine's clock (NTP)",
        ),
        (_, Some(iat)) if iat > now + CLOCKS_DIFFER_S => report.warning(
            CHECK,
            format!("of {client}, issued at {}; local time {local}", date(iat)),
            "this machine's clock and the platform's differ: set them (NTP)",
        ),
        (Some(exp), _) => report.ok(CHECK, format!("of {client}, valid until {}", date(exp))),
        (None, _) => report.ok(CHECK, format!("of {client}, without an end")),
    }
}

/// Whom the token stands for.
fn client(claims: &Value) -> String {
    let apps = match &claims["appId"] {
        Value::Array(apps) => apps.iter().filter_map(Value::as_str).collect(),
        app => app.as_str().into_iter().collect::<Vec<_>>(),
    };
    let client = claims["azp"].as_str().unwrap_or("a client without name");
    match apps.is_empty() {
        true => foreign(client),
        false => foreign(&format!("{client} of {}", apps.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::super::report::Verdict;
    use super::*;

    fn token(claims: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.c2ln", part(r#"{"alg":"ES256"}"#), part(claims))
    }

    fn said(token: &str) -> (Verdict, String) {
        let mut report = Report::of(String::new());
        check(&mut report, token);
        let check = &report.checks[0];
        (check.verdict, check.value.clone())
    }

    #[test]
    fn a_token_tells_whom_it_stands_for_and_until_when() {
        let claims = r#"{"azp":"dash","appId":["myapp"],"exp":4102444800}"#;
        let expected = "of dash of myapp, valid until 2100-01-01T00:00:00Z";
        assert_eq!(said(&token(claims)), (Verdict::Ok, expected.to_owned()));
    }

    #[test]
    fn a_token_out_of_its_time_is_told_with_the_local_time() {
        let (verdict, value) = said(&token(r#"{"azp":"a","exp":1000000000}"#));
        assert_eq!(verdict, Verdict::Failed);
        assert!(value.contains("of a, valid until 2001-09-09T01:46:40Z; local time 20"));
        let (verdict, value) = said(&token(r#"{"iat":4102444800,"exp":4102448400}"#));
        assert_eq!(verdict, Verdict::Warning);
        assert!(value.contains("issued at 2100-01-01T00:00:00Z"), "{value}");
    }

    #[test]
    fn what_is_no_token_is_told_without_being_shown() {
        for text in ["", "secret", "a.b.c", "e30.e30", "e30.e30.e30.e30"] {
            assert!(!is_one(text), "{text}");
            let (verdict, value) = said(text);
            assert_eq!(verdict, Verdict::Failed);
            assert!(!value.contains("secret"));
        }
        assert!(is_one(&token("{}")));
    }
}
