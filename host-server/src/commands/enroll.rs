//! `enroll`: makes the credentials of a vehicle or a partner with the certificate authority of a
//! data folder.

use std::io::{self, Write};
use std::path::Path;

use vinbus_protocol::id::{IdError, Uid, Vin};

use crate::cli::{EnrollArgs, EnrollTo, Enrollee};
use crate::config;
use crate::identity::{Existing, Identities, IdentityError};
use crate::invocation;
use crate::serve::Addresses;

/// Why nobody was enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The VIN is none.
    #[error("{text:?} is not a VIN: {reason}")]
    Vin {
        /// What was given.
        text: String,
        /// Why not.
        reason: IdError,
    },
    /// The UID is none.
    #[error("{text:?} is not a UID: {reason}")]
    Uid {
        /// What was given.
        text: String,
        /// Why not.
        reason: IdError,
    },
    /// The credentials cannot be made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// What was done cannot be printed.
    #[error("the credentials were made, what to do next could not be printed: {0}")]
    Output(io::Error),
}

impl EnrollError {
    /// Whether what was typed is at fault.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Vin { .. } | Self::Uid { .. })
    }
}

/// Makes the credentials and says where they are.
///
/// # Errors
/// An [`EnrollError`].
pub fn run(args: EnrollArgs) -> Result<(), EnrollError> {
    let said = match args.who {
        Enrollee::Vehicle { vin, to } => vehicle(&vin, &to)?,
        Enrollee::Partner { uid, to } => partner(&uid, &to)?,
    };
    io::stdout()
        .write_all(said.as_bytes())
        .map_err(EnrollError::Output)
}

fn vehicle(text: &str, to: &EnrollTo) -> Result<String, EnrollError> {
    let vin = Vin::parse(text).map_err(|reason| EnrollError::Vin {
        text: text.to_owned(),
        reason,
    })?;
    open(to)?.enroll_vehicle(&vin, &to.out, existing(to))?;
    let out = to.out.display();
    Ok(format!(
        "vehicle {vin} is enrolled: ca.pem, cert.pem and key.pem are in {out}\n\
         Start an agent with them:\n  {}\n",
        invocation::agent(
            vin.as_str(),
            &out.to_string(),
            mqtts_port(to),
            "demo-partner"
        )
    ))
}

fn partner(text: &str, to: &EnrollTo) -> Result<String, EnrollError> {
    let uid = Uid::parse(text).map_err(|reason| EnrollError::Uid {
        text: text.to_owned(),
        reason,
    })?;
    open(to)?.enroll_partner(&uid, &to.out, existing(to))?;
    let out = to.out.display();
    Ok(format!(
        "partner {uid} is enrolled: ca.pem, cert.pem and key.pem, password (MQTT) and token (REST) \
         are in {out}\n\
         Listen as this partner:\n  {} listen --token \"$(cat {out}/token)\"\n",
        invocation::of("host-server")
    ))
}

fn open(to: &EnrollTo) -> Result<Identities, EnrollError> {
    let data_dir = config::data_dir(to.data_dir.as_deref());
    note_new_authority(&data_dir);
    Ok(Identities::open(&data_dir)?)
}

/// Where the server that runs on the folder listens for vehicles, or will by default.
fn mqtts_port(to: &EnrollTo) -> u16 {
    let running = Addresses::read(&config::data_dir(to.data_dir.as_deref()));
    let address = running.and_then(|addresses| addresses.mqtts);
    address.map_or(config::MQTTS_PORT_DEFAULT, |address| address.port())
}

fn existing(to: &EnrollTo) -> Existing {
    if to.replace {
        Existing::Replace
    } else {
        Existing::Refuse
    }
}

/// A mistyped folder must not go unnoticed: the server trusts only its own authority.
fn note_new_authority(data_dir: &Path) {
    if !data_dir.join("ca").exists() {
        eprintln!(
            "note: {} has no certificate authority yet, a new one is made there",
            data_dir.display()
        );
    }
}
