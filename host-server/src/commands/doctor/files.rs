//! The files that the command line names: whether they can be read, and whether they can be used.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use vinbus_transport_std::{StreamDialer, TlsError};

use super::DoctorError;
use super::access::Access;
use crate::config::ExternalBroker;

/// Fails if one that holds a certificate or a key cannot be read: then nobody has to look at the broker.
pub(super) fn readable(broker: &ExternalBroker) -> Result<(), DoctorError> {
    let ca = broker.ca.as_deref().map(|ca| ("--ca", ca));
    let identity = broker.identity.iter();
    let identity = identity.flat_map(|(cert, key)| [("--cert", &**cert), ("--key", &**key)]);
    for (option, path) in ca.into_iter().chain(identity) {
        match File::open(path).and_then(|file| file.metadata()) {
            Ok(found) if found.is_dir() => {
                return Err(unreadable(option, path, io::ErrorKind::IsADirectory.into()));
            }
            Ok(_) => {}
            Err(error) => return Err(unreadable(option, path, error)),
        }
    }
    Ok(())
}

/// A secret in a file; a line end after it is not part of it.
pub(super) fn secret_in(option: &'static str, file: &Path) -> Result<String, DoctorError> {
    let text = fs::read_to_string(file).map_err(|error| unreadable(option, file, error))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn unreadable(option: &'static str, path: &Path, source: io::Error) -> DoctorError {
    DoctorError::File {
        option,
        path: path.to_owned(),
        source,
    }
}

/// Files that were read, and cannot be used.
pub(super) struct Unusable {
    /// They are our certificate or its key; else they say whom to trust.
    pub(super) is_own: bool,
    /// What is wrong with which.
    pub(super) value: String,
    /// What to change.
    pub(super) advice: &'static str,
}

/// What is wrong with the files for TLS, if anything is.
pub(super) fn unusable(access: &Access) -> Option<Unusable> {
    let error = StreamDialer::new(access.url.clone(), &access.tls, access.step).err()?;
    let (is_own, value, advice) = match &error {
        TlsError::KeyOfAnother { certificate, key } => (
            true,
            format!("the key in {key} is not that of the certificate in {certificate}"),
            "give the two that were issued together, by --cert and --key",
        ),
        TlsError::NoCertificate { role, pem } if *role == "client" => (
            true,
            format!("{pem} holds no certificate"),
            "give the PEM file with -----BEGIN CERTIFICATE-----, by --cert",
        ),
        TlsError::NoCertificate { pem, .. } => (
            false,
            format!("{pem} holds no certificate"),
            "give the PEM file with the authority's -----BEGIN CERTIFICATE-----, by --ca",
        ),
        TlsError::NoKey { pem } => (
            true,
            format!("{pem} holds no private key"),
            "give the PEM file with -----BEGIN PRIVATE KEY-----, by --key",
        ),
        TlsError::Identity {
            certificate,
            key,
            source,
        } => (
            true,
            format!(
                "the certificate in {certificate} and the key in {key} cannot be used: {source}"
            ),
            "have both issued anew, and give them by --cert and --key",
        ),
        TlsError::Certificate { pem, reason } => (
            true,
            format!("the certificate in {pem} cannot be used: {reason}"),
            "have one issued that can be, and give it and its key by --cert and --key",
        ),
        TlsError::Authority { pem, reason } => (
            false,
            format!("the certificate in {pem} cannot be used: {reason}"),
            "give the certificate of the authority that signed the broker's, by --ca",
        ),
        TlsError::NoSystemRoots => (
            false,
            "the system trusts no authority".to_owned(),
            "give the certificate of the authority that signed the broker's, by --ca; or install those of the \
             system (ca-certificates)",
        ),
        TlsError::File { .. } | TlsError::Damaged { .. } | TlsError::Rustls(_) => (
            false,
            error.to_string(),
            "check the files of --ca, --cert and --key",
        ),
    };
    Some(Unusable {
        is_own,
        value,
        advice,
    })
}
