//! Platforms that give no token.

use vinbus_transport_std::OptionsError;
use vinbus_transport_std::bus::{BusClient, BusError, BusOptions, PlatformUrl, TokenError};
use vinbus_transport_std::conformance::in_time;

use crate::platform::{Answer, Platform};

fn client(platform: PlatformUrl) -> BusOptions {
    BusOptions::new(platform, "myapp", "client", "geheim")
}

async fn refused(answer: Answer) -> TokenError {
    let platform = Platform::answering(&[answer]).await;
    refused_at(platform.url()).await
}

async fn refused_at(platform: PlatformUrl) -> TokenError {
    match in_time("an answer", BusClient::connect(client(platform))).await {
        Err(BusError::Token(error)) => {
            let told = BusError::Token(error.clone()).to_string();
            assert!(told.contains(error.advice()), "{told}");
            assert!(!told.contains("geheim"), "{told}");
            error
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_refusal_is_an_error_of_its_own_with_the_platforms_words() {
    let missing = refused(Answer::Refusal(400, "appId missing")).await;
    assert!(
        matches!(&missing, TokenError::BadRequest { message, .. } if message == "appId missing")
    );
    let wrong = refused(Answer::Refusal(401, "Unauthorized")).await;
    assert!(matches!(wrong, TokenError::Unauthorized { .. }));
    let forbidden = refused(Answer::Refusal(403, "Forbidden")).await;
    assert!(matches!(forbidden, TokenError::Forbidden { .. }));
    let unknown = refused(Answer::Refusal(404, "Client not found")).await;
    assert!(matches!(unknown, TokenError::NotFound { .. }));
    for permanent in [missing, wrong, forbidden, unknown] {
        assert!(!permanent.is_transient(), "{permanent}");
    }
    for status in [302, 429, 500, 503] {
        let error = refused(Answer::Refusal(status, "later")).await;
        assert!(error.is_transient(), "{error}");
        assert!(matches!(error, TokenError::Failed { status: told, .. } if told == status));
    }
}

#[tokio::test]
async fn answer_that_is_no_token_is_refused_without_showing_it() {
    for answer in [
        "<html>welcome</html>",
        r#"{"access_token":"geheim"}"#,
        r#"{"access_token":"geheim","expires_in":"soon"}"#,
        r#"{"access_token":"","expires_in":60}"#,
        r#"{"access_token":"geheim","expires_in":0}"#,
    ] {
        let error = refused(Answer::Other(answer)).await;
        assert!(matches!(error, TokenError::NoToken { .. }), "{error}");
    }
    let endless: &'static str = Box::leak("x".repeat(1 << 20).into_boxed_str());
    let error = refused(Answer::Other(endless)).await;
    assert!(matches!(error, TokenError::NoToken { .. }), "{error}");
}

#[tokio::test]
async fn platform_that_does_not_answer_is_told_apart() {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", probe.local_addr().unwrap());
    drop(probe);
    let error = refused_at(url.parse().unwrap()).await;
    assert!(matches!(error, TokenError::Unreachable { .. }), "{error}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn wrong_option_is_named_before_anything_runs() {
    let platform = Platform::answering(&[Answer::Refusal(401, "no")]).await;
    let wrong = client(platform.url()).mqtt(|mqtt| mqtt.receive_maximum(0));
    // Nobody is asked for a token: the test would see another error.
    let error = in_time("an answer", BusClient::connect(wrong))
        .await
        .unwrap_err();
    assert!(
        matches!(error, BusError::Options(OptionsError::Zero { .. })),
        "{error}"
    );
    let shown = format!("{:?}", client(platform.url()));
    assert!(
        shown.contains("myapp") && !shown.contains("geheim"),
        "{shown}"
    );
}
