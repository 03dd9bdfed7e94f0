//! Whom the board trusts, and who trusts it.

use vinbus_transport_std::conformance::{Authority, Issued, Validity};

use crate::board::{Board, HOST};
use crate::gate::Gate;

pub(crate) async fn broker_of_another_authority_is_refused() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let server = theirs.server(HOST, Validity::Now);
    refused(&ours, &server, &[], "unknown authority").await;
}

pub(crate) async fn broker_with_the_certificate_of_another_host_is_refused() {
    let ours = Authority::new("ours");
    let server = ours.server("broker.example", Validity::Now);
    refused(&ours, &server, &[], "for another host").await;
}

pub(crate) async fn broker_with_an_expired_certificate_is_refused() {
    let ours = Authority::new("ours");
    let server = ours.server(HOST, Validity::Expired);
    refused(&ours, &server, &[], "has expired").await;
}

pub(crate) async fn broker_with_a_certificate_that_is_not_valid_yet_is_refused() {
    let ours = Authority::new("ours");
    let server = ours.server(HOST, Validity::NotYet);
    refused(&ours, &server, &[], "not valid yet").await;
}

pub(crate) async fn broker_with_the_certificate_of_a_vehicle_is_refused() {
    let ours = Authority::new("ours");
    let vehicle = ours.client_of_host(HOST, Validity::Now);
    refused(&ours, &vehicle, &[], "not one for servers").await;
}

pub(crate) async fn broker_with_a_certificate_issued_by_a_vehicle_is_refused() {
    let ours = Authority::new("ours");
    let vehicle = ours.client("ANOTHERVEHICLE123", Validity::Now);
    let server = Authority::impostor(&vehicle).server(HOST, Validity::Now);
    let chain = [&vehicle.certificate[..]];
    refused(&ours, &server, &chain, "a certificate that is no authority").await;
}

/// The board must not connect to a broker that shows this certificate, and has to say why.
async fn refused(ours: &Authority, server: &Issued, chain: &[&str], reason: &str) {
    let gate = Gate::open(server, chain, ours).await;
    let folder = tempfile::tempdir().unwrap();
    let mut board = Board::start(Some(&gate.block(folder.path(), ours).await));
    let line = board.log.until("no connection").await;
    assert!(line.contains(reason), "{line}");
}

pub(crate) async fn broker_that_refuses_the_vehicles_certificate_is_told_from_a_broken_link() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let server = ours.server(HOST, Validity::Now);
    let gate = Gate::open(&server, &[], &theirs).await;
    let folder = tempfile::tempdir().unwrap();
    let mut board = Board::start(Some(&gate.block(folder.path(), &ours).await));
    // With TLS 1.3 the refusal comes after the handshake.
    board.log.until("refused our certificate").await;
}
