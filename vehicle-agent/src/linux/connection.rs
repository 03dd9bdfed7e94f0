//! From the program's options to those of a client of the broker.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;

use vinbus_protocol::id::Vin;
use vinbus_transport_std::{ClientOptions, Pem, Qos, TlsOptions, Will};

use crate::identity::Identity;
use crate::linux::args::BrokerArgs;
use crate::presence;

/// Messages that may wait for their acknowledgement, each way; the client keeps room for as many.
const RECEIVE_MAXIMUM: u16 = 8;

/// Time the broker has to acknowledge a message.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What makes one vehicle's connection its own.
#[derive(Debug)]
pub(crate) struct Credentials<'c> {
    /// The authorities to trust, if not the system's.
    pub(crate) ca: Option<&'c Path>,
    /// Certificate and key.
    pub(crate) certificate: Option<(&'c Path, &'c Path)>,
    /// The password for the user name of the options.
    pub(crate) password: Option<&'c str>,
}

impl Credentials<'_> {
    /// Whom to trust and who to be, for the vehicle `vin`.
    ///
    /// # Errors
    /// When the certificate is that of another vehicle, or cannot be used with this broker.
    pub(crate) fn tls(&self, args: &BrokerArgs, vin: &Vin) -> anyhow::Result<TlsOptions> {
        let file = |path: &Path| Pem::File(path.to_owned());
        let identity = self
            .certificate
            .map(|(certificate, key)| vinbus_transport_std::Identity {
                certificate: file(certificate),
                key: file(key),
            });
        if let Some(identity) = &identity {
            ensure!(
                args.access.url.scheme().is_tls(),
                "a certificate needs TLS: use a mqtts:// or wss:// URL, or leave the certificate out"
            );
            check_name(identity, vin)?;
        }
        let ca = self.ca.map(file);
        Ok(TlsOptions { ca, identity })
    }
}

/// Brokers know a vehicle by the common name of its certificate (SPEC 10.1).
/// Refuses the certificate of another vehicle.
///
/// # Errors
/// When it is that of another one, or cannot be read.
pub(crate) fn check_name(
    identity: &vinbus_transport_std::Identity,
    vin: &Vin,
) -> anyhow::Result<()> {
    let names = identity.common_names()?;
    ensure!(
        names == [vin.as_str()],
        "the certificate in {} is for {:?}, but this vehicle is {vin}: give the certificate of this vehicle, or the VIN of that one",
        identity.certificate,
        names.join(", ")
    );
    Ok(())
}

/// The options of a vehicle's client, checked with the files that they name. The client id is the
/// VIN, so that a second agent of the same vehicle is noticed.
///
/// # Errors
/// When an option or a certificate file is wrong.
pub(crate) fn options<const APPS: usize>(
    args: &BrokerArgs,
    identity: &Identity<APPS>,
    credentials: &Credentials<'_>,
    inbound_messages_max: usize,
) -> anyhow::Result<ClientOptions> {
    let vin = identity.vin();
    let mut options = ClientOptions::new(args.access.url.clone(), vin.as_str())
        .version(args.mqtt_version)
        .answer_timeout(ANSWER_TIMEOUT)
        .inbound_messages_max(inbound_messages_max)
        .receive_maximum(RECEIVE_MAXIMUM)
        .outbound_messages_max(4)
        .tls(credentials.tls(args, vin)?);
    if let (Some(name), Some(password)) = (&args.access.username, credentials.password) {
        options = options.credentials(user_name(name, vin), password);
    }
    if let Some((topic, payload)) = presence::will(identity) {
        options = options.will(Will {
            topic: topic.as_str().to_owned(),
            payload: Bytes::from_static(payload.as_bytes()),
            qos: Qos::AtLeastOnce,
            retain: true,
        });
    }
    options.check()?;
    Ok(options)
}

/// The user name of a vehicle.
pub(crate) fn user_name(name: &str, vin: &Vin) -> String {
    name.replace("{vin}", vin.as_str())
}

/// The first line of a password file.
///
/// # Errors
/// When the file cannot be read or its first line is empty.
pub(crate) fn read_password(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read --password-file {}", file.display()))?;
    let password = text.lines().next().unwrap_or_default();
    ensure!(
        !password.is_empty(),
        "the first line of --password-file {} is empty",
        file.display()
    );
    Ok(password.to_owned())
}
