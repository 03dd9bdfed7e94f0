//! A look at a broker by the real program, and the files that it is given.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use vinbus_transport_std::BrokerUrl;
use vinbus_transport_std::conformance::{Issued, Mosquitto};

use crate::cli_support::run;

pub(crate) const WRONG_PASSWORD: &str = "horse-battery";

/// The report of a look, and its exit status.
pub(crate) struct Look {
    pub(crate) report: Value,
    pub(crate) status: Option<i32>,
    pub(crate) printed: String,
}

impl Look {
    pub(crate) async fn at(args: &[&str]) -> Self {
        let args = [&["doctor", "--json"], args].concat();
        let output = run(&args).await;
        let printed = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        let report = serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{printed}{errors}"));
        let printed = printed + &errors;
        Self {
            report,
            status: output.status.code(),
            printed,
        }
    }

    /// The lines of a check as verdict, value and advice.
    pub(crate) fn checks(&self, name: &str) -> Vec<(&str, String)> {
        let checks = self.report["checks"].as_array().unwrap();
        let named = checks.iter().filter(|check| check["check"] == name);
        named
            .map(|check| {
                let text = |member: &str| check[member].as_str().unwrap_or_default();
                let shown = format!("{} -> {}", text("value"), text("advice"));
                (check["verdict"].as_str().unwrap(), shown)
            })
            .collect()
    }

    /// Asserts that a check has one line with this verdict, which says `part`.
    #[track_caller]
    pub(crate) fn says(&self, name: &str, verdict: &str, part: &str) {
        let checks = self.checks(name);
        let [(told, text)] = &checks[..] else {
            panic!("{name}: {checks:?} in {:#}", self.report);
        };
        assert_eq!(*told, verdict, "{name}: {text}");
        assert!(text.contains(part), "{name}: {text}");
    }

    /// The names of the checks with this verdict.
    pub(crate) fn with(&self, verdict: &str) -> Vec<&str> {
        let checks = self.report["checks"].as_array().unwrap();
        let of_it = checks.iter().filter(|check| check["verdict"] == verdict);
        of_it
            .map(|check| check["check"].as_str().unwrap())
            .collect()
    }
}

/// Credentials for a broker, as files.
pub(crate) struct Files(pub(crate) TempDir);

impl Files {
    pub(crate) fn new(ca: &str, client: &Issued, password: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("ca.pem", ca),
            ("cert.pem", &client.certificate),
            ("key.pem", &client.key),
            ("password", &format!("{password}\n")),
        ] {
            std::fs::write(dir.path().join(file), text).unwrap();
        }
        Self(dir)
    }

    /// Those that the broker welcomes.
    pub(crate) fn right(mosquitto: &Mosquitto) -> Self {
        let ca = &mosquitto.authority.certificate;
        Self::new(ca, &mosquitto.client, Mosquitto::PASSWORD)
    }

    pub(crate) async fn look(&self, url: &BrokerUrl, user: &str, more: &[&str]) -> Look {
        look_with(self.0.path(), url, user, more).await
    }
}

/// Looks with the files of a folder, as `enroll partner` writes them.
pub(crate) async fn look_with(files: &Path, url: &BrokerUrl, user: &str, more: &[&str]) -> Look {
    let url = url.to_string();
    let path = |file: &str| files.join(file).to_str().unwrap().to_owned();
    let (ca, cert, key) = (path("ca.pem"), path("cert.pem"), path("key.pem"));
    let password = path("password");
    let mut args = vec![
        "--broker",
        &url,
        "--user",
        user,
        "--password-file",
        &password,
    ];
    match url.split_once(':') {
        Some(("mqtts", _)) => args.extend(["--ca", &ca, "--cert", &cert, "--key", &key]),
        Some(("wss", _)) => args.extend(["--ca", &ca]),
        _ => {}
    }
    if !more.contains(&"--listen") {
        args.extend(["--listen", "0s"]);
    }
    args.extend(more);
    Look::at(&args).await
}

/// Looks at what listens without TLS, with no credentials and little patience.
pub(crate) async fn look_at(port: u16) -> Look {
    let url = format!("mqtt://127.0.0.1:{port}");
    Look::at(&["--broker", &url, "--timeout", "300ms", "--listen", "0s"]).await
}
