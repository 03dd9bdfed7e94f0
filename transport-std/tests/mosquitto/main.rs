//! The conformance suite against a real mosquitto, and what only a mosquitto can be asked to do.

use vinbus_transport_std::conformance::{self, Mosquitto};

#[tokio::test]
async fn every_endpoint_and_version_echoes() {
    conformance::every_endpoint_and_version_echoes(&Mosquitto::start().await).await;
}
