//! Every TLS failure is told apart from every other.

use vinbus_transport_std::LinkError;
use vinbus_transport_std::conformance::{self, BrokerUnderTest, Endpoint, Mosquitto, link_error};

#[tokio::test]
async fn a_refused_client_certificate_is_an_error_of_its_own() {
    let broker = Mosquitto::start().await;
    conformance::a_refused_client_certificate_is_an_error_of_its_own(&broker).await;
}

#[tokio::test]
async fn an_unknown_authority_is_an_error_of_its_own() {
    conformance::an_unknown_authority_is_an_error_of_its_own(&Mosquitto::start().await).await;
}

#[tokio::test]
async fn an_expired_an_early_and_a_misnamed_server_certificate_are_three_errors() {
    let broker = Mosquitto::start().await;
    let error = async |fault| link_error(broker.faulty_options(fault)).await;
    assert_eq!(error("expired").await, LinkError::ServerCertificateExpired);
    assert_eq!(
        error("not-yet").await,
        LinkError::ServerCertificateNotYetValid
    );
    let host = broker.url(Endpoint::Mqtts).host().to_owned();
    assert_eq!(
        error("wrong-host").await,
        LinkError::ServerCertificateWrongHost { host }
    );
}
