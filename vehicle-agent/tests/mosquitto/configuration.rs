//! What the agent refuses to start with: at once, by name, and with the exit code for options.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use vinbus_transport_std::conformance::{Authority, Issued, Validity};

use crate::world::VIN;

/// A folder with the certificates of two vehicles.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("CA");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
        write("ca.pem", &authority.certificate).unwrap();
        write("text.pem", "no PEM").unwrap();
        for (name, vin) in [("own", VIN), ("other", "1123456789ABCDEFG")] {
            let Issued { certificate, key } = authority.client(vin, Validity::Now);
            write(&format!("{name}-cert.pem"), &certificate).unwrap();
            write(&format!("{name}-key.pem"), &key).unwrap();
        }
        Self(folder)
    }
}

fn agent(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vehicle-agent"));
    command
        .current_dir(folder)
        .args(["run", "--vin", VIN, "--app", "demo=p"])
        .args(["--portal", "127.0.0.1:0"]);
    command
}

#[track_caller]
fn refused(output: &Output, code: i32, parts: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    for part in parts {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
    assert!(!error.contains("/portal"), "the portal was opened: {error}");
}

#[test]
fn certificate_files_that_do_not_fit_are_named_before_the_portal_opens() {
    let files = Files::new();
    let (cert, key) = ("own-cert.pem", "own-key.pem");
    for (ca, cert, key, parts) in [
        ("none.pem", cert, key, &["none.pem", "No such file"][..]),
        ("text.pem", cert, key, &["text.pem", "CA certificate"]),
        (
            "ca.pem",
            "text.pem",
            key,
            &["text.pem", "client certificate"],
        ),
        ("ca.pem", cert, "text.pem", &["text.pem", "private key"]),
        ("ca.pem", cert, "other-key.pem", &[cert, "other-key.pem"]),
        (
            "ca.pem",
            "other-cert.pem",
            "other-key.pem",
            &["other-cert.pem", "1123456789ABCDEFG", VIN],
        ),
    ] {
        let output = agent(files.0.path())
            .args(["--broker", "mqtts://127.0.0.1:1"])
            .args(["--ca", ca, "--cert", cert, "--key", key])
            .output();
        refused(&output.unwrap(), 2, parts);
    }
}

#[test]
fn certificate_for_a_broker_without_tls_is_refused() {
    let files = Files::new();
    let output = agent(files.0.path())
        .args(["--broker", "mqtt://127.0.0.1:1"])
        .args(["--cert", "own-cert.pem", "--key", "own-key.pem"])
        .output();
    refused(&output.unwrap(), 2, &["mqtts://"]);
}

#[test]
fn log_filter_with_a_slip_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let output = agent(folder.path())
        .args(["--broker", "mqtt://127.0.0.1:1"])
        .env("VINBUS_LOG", "loud")
        .output();
    refused(&output.unwrap(), 2, &["VINBUS_LOG", "loud", "warn"]);
}

#[test]
fn portal_address_that_is_taken_is_no_fault_of_the_options() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_vehicle-agent"))
        .args(["run", "--vin", VIN, "--app", "demo=p"])
        .args(["--broker", "mqtt://127.0.0.1:1", "--portal", &address])
        .output();
    let parts = [&address, "another program does", "--portal"];
    refused(&output.unwrap(), 1, &parts);
}

#[test]
fn portal_address_that_is_not_of_this_machine_is_told_as_such() {
    // An address of documentation (RFC 5737).
    let output = Command::new(env!("CARGO_BIN_EXE_vehicle-agent"))
        .args(["run", "--vin", VIN, "--app", "demo=p"])
        .args(["--broker", "mqtt://127.0.0.1:1"])
        .args(["--portal", "192.0.2.1:8080"])
        .output();
    let parts = ["192.0.2.1:8080: this machine has no such address"];
    refused(&output.unwrap(), 1, &parts);
}

#[test]
fn file_in_place_of_a_data_folder_is_told_as_one() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    for path in ["file", "file/below"] {
        let output = agent(folder.path())
            .args(["--broker", "mqtt://127.0.0.1:1", "--data-dir", path])
            .output();
        let said = format!("cannot use --data-dir {path}: file is a file; name a folder");
        refused(&output.unwrap(), 2, &[&said]);
    }
}
