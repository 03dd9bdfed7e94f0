//! `enroll`: makes the credentials of vehicles and partners with the certificate authority of a data
//! folder.
//!
//! A server trusts its own authority alone. So a new one is founded only when it is asked for: a
//! mistyped folder, or the wrong working folder, must not yield credentials that no server takes.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use vinbus_protocol::id::{IdError, Uid, Vin};
use vinbus_protocol::limits::VIN_BYTES;

use crate::cli::{EnrollArgs, EnrollTo, Enrollee};
use crate::config;
use crate::identity::{Existing, Identities, IdentityError};
use crate::invocation;
use crate::serve::Addresses;

/// Why nobody was enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The data folder has no certificate authority.
    #[error(
        "{} has no certificate authority to enroll with. Name the server's data folder with \
         --data-dir, or start `host-server` there once. To enroll before its first start, found the \
         authority now with --new-authority",
        data_dir.display()
    )]
    NoAuthority {
        /// The data folder.
        data_dir: PathBuf,
    },
    /// The prefix and the numbers make no VINs.
    #[error("--vin-prefix {prefix:?} and the number {number} make no VIN: {reason}")]
    VinPrefix {
        /// The prefix.
        prefix: String,
        /// The first number that fails.
        number: u32,
        /// Why.
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
        match self {
            Self::NoAuthority { .. } | Self::VinPrefix { .. } => true,
            Self::Identity(error) => error.is_usage(),
            Self::Output(_) => false,
        }
    }
}

/// Makes the credentials and says where they are.
///
/// # Errors
/// An [`EnrollError`].
pub fn run(args: EnrollArgs) -> Result<(), EnrollError> {
    let said = match args.who {
        Enrollee::Vehicle { vin, to } => vehicle(&vin, &to)?,
        Enrollee::Vehicles {
            count,
            vin_prefix,
            to,
        } => vehicles(&vins(&vin_prefix, count)?, &vin_prefix, &to)?,
        Enrollee::Partner { uid, to } => partner(&uid, &to)?,
    };
    io::stdout()
        .write_all(said.as_bytes())
        .map_err(EnrollError::Output)
}

fn vehicle(vin: &Vin, to: &EnrollTo) -> Result<String, EnrollError> {
    open(to, &[&to.out])?.enroll_vehicle(vin, &to.out, existing(to))?;
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

fn vehicles(vins: &[Vin], prefix: &str, to: &EnrollTo) -> Result<String, EnrollError> {
    let out_of = |vin: &Vin| to.out.join(vin.as_str());
    let outs: Vec<_> = vins.iter().map(out_of).collect();
    let identities = open(to, &outs)?;
    for (vin, out) in vins.iter().zip(&outs) {
        identities.enroll_vehicle(vin, out, existing(to))?;
    }
    let (count, out) = (vins.len(), to.out.display());
    Ok(format!(
        "{count} vehicles are enrolled: ca.pem, cert.pem and key.pem of each are in {out}/VIN/\n\
         Simulate them:\n  {} simulate --count {count} --vin-prefix {prefix} --certs {out} \
         --broker mqtts://localhost:{}\n",
        invocation::of("vehicle-agent"),
        mqtts_port(to)
    ))
}

fn partner(uid: &Uid, to: &EnrollTo) -> Result<String, EnrollError> {
    open(to, &[&to.out])?.enroll_partner(uid, &to.out, existing(to))?;
    let out = to.out.display();
    Ok(format!(
        "partner {uid} is enrolled: ca.pem, cert.pem and key.pem, password (MQTT) and token (REST) \
         are in {out}\n\
         Listen as this partner:\n  {} listen --token \"$(cat {out}/token)\"\n",
        invocation::of("host-server")
    ))
}

/// VINs as the simulator of `vehicle-agent` has them: the prefix, then zeros and a number from 0 on.
fn vins(prefix: &str, count: u32) -> Result<Vec<Vin>, EnrollError> {
    let digits = VIN_BYTES.saturating_sub(prefix.len());
    let vin = |number| {
        Vin::parse(&format!("{prefix}{number:0digits$}")).map_err(|reason| EnrollError::VinPrefix {
            prefix: prefix.to_owned(),
            number,
            reason,
        })
    };
    (0..count).map(vin).collect()
}

/// Opens the authority, or founds it where that is asked for, once it is sure that all of `outs` can
/// be written to.
fn open(to: &EnrollTo, outs: &[impl AsRef<Path>]) -> Result<Identities, EnrollError> {
    let data_dir = config::data_dir(to.data_dir.as_deref());
    let is_new = !Identities::are_in(&data_dir);
    if is_new && !to.new_authority {
        let data_dir = std::path::absolute(&data_dir).unwrap_or(data_dir);
        return Err(EnrollError::NoAuthority { data_dir });
    }
    for out in outs {
        Identities::prepare_out(out.as_ref(), existing(to))?;
    }
    let identities = Identities::open(&data_dir)?;
    if is_new {
        eprintln!(
            "note: founded the certificate authority {} in {}; only a server with that data folder \
             trusts it",
            identities.authority().subject(),
            data_dir.display()
        );
    }
    Ok(identities)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vins_are_numbered_as_the_simulator_has_them() {
        let vins = vins("SIM", 3).unwrap();
        assert_eq!(vins[2].as_str(), "SIM00000000000002");
    }

    #[test]
    fn a_prefix_that_leaves_no_room_or_is_of_no_vin_is_refused() {
        let check = |prefix: &str, count, part: &str| {
            let shown = vins(prefix, count).unwrap_err().to_string();
            assert!(shown.contains(part), "{shown}");
        };
        check("0123456789ABCDEF", 11, "the number 10");
        check("S/M", 1, "\"S/M\"");
    }
}
