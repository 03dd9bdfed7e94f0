//! Which web pages may open a WebSocket or use a session here. A browser lets any page try, and sends the page's origin
//! with it; programs send none, or that of the server itself.

use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};

use super::problem::{Kind, Problem};

/// Refuses a page of another origin than the server's own.
pub(super) fn check_own(headers: &HeaderMap) -> Result<(), Problem> {
    if !headers.contains_key(ORIGIN) || is_own(headers) {
        return Ok(());
    }
    Err(Problem::new(
        Kind::Forbidden,
        "web pages of another origin may not do this",
    ))
}

/// Refuses a page of another origin than the server's own and the `allowed` ones.
pub(super) fn check(headers: &HeaderMap, allowed: &[String]) -> Result<(), Problem> {
    let Some(origin) = headers.get(ORIGIN) else {
        return Ok(());
    };
    let is_allowed = |allowed: &String| {
        origin
            .as_bytes()
            .eq_ignore_ascii_case(allowed.trim_end_matches('/').as_bytes())
    };
    if is_own(headers) || allowed.iter().any(is_allowed) {
        return Ok(());
    }
    let origin = String::from_utf8_lossy(origin.as_bytes());
    Err(Problem::new(
        Kind::Forbidden,
        format!(
            "web pages of the origin {origin:?} may not speak MQTT here; the operator can allow \
             them with --allow-origin"
        ),
    ))
}

/// Whether the page comes from the host and port that it asks now.
pub(super) fn is_own(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(origin), Some(host)) = (text(ORIGIN), text(HOST)) else {
        return false;
    };
    origin
        .split_once("://")
        .is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn may(origin: Option<&'static str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("vinbus.example:8080"));
        if let Some(origin) = origin {
            headers.insert(ORIGIN, HeaderValue::from_static(origin));
        }
        let allowed = ["https://console.example/".to_owned()];
        check(&headers, &allowed).is_ok()
    }

    #[test]
    fn programs_own_pages_and_allowed_pages_may() {
        for origin in [
            None,
            Some("http://vinbus.example:8080"),
            Some("https://VINBUS.example:8080"),
            Some("https://console.example"),
        ] {
            assert!(may(origin), "{origin:?}");
        }
    }

    #[test]
    fn pages_of_others_may_not() {
        for origin in [
            "https://evil.example",
            "http://vinbus.example",
            "http://console.example",
            "https://console.example.evil.example",
            "null",
            "",
        ] {
            assert!(!may(Some(origin)), "{origin}");
        }
    }
}
