//! The command line of `fleet`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use vinbus_protocol::id::Vin;
use vinbus_protocol::limits::VIN_BYTES;

use super::{Access, MessageArgs};

/// `fleet`: what to do.
#[derive(Args, Debug)]
#[command(arg_required_else_help = true)]
pub struct FleetArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: FleetCommand,
}

/// What can be done with fleet messages.
#[derive(Debug, Subcommand)]
pub enum FleetCommand {
    /// Send a message to an app in many vehicles, and print its id
    Send {
        /// To whom.
        #[command(flatten)]
        to: FleetRecipients,
        /// What.
        #[command(flatten)]
        message: Box<MessageArgs>,
        /// Put so many messages on their way in a second at most. [default: the server's --fleet-rate]
        #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..),
            allow_negative_numbers = true)]
        rate: Option<u32>,
        /// Where to.
        #[command(flatten)]
        access: Access,
    },
    /// List fleet messages, newest first: id, state, and how many vehicles' messages are how far
    List {
        /// Where from.
        #[command(flatten)]
        access: Access,
    },
    /// Tell how far a fleet message is, one count a line
    Show(FleetOf),
    /// List the vehicles of a fleet message: VIN, step, and the id of its message for `trace`
    Vehicles(FleetOf),
    /// Put no more of its messages on their way, until it is resumed
    Pause(FleetOf),
    /// Go on with a fleet message that is paused
    Resume(FleetOf),
    /// End a fleet message for good: what was not sent yet is not sent
    Cancel(FleetOf),
}

/// Which fleet message.
#[derive(Args, Debug)]
pub struct FleetOf {
    /// The id that `fleet send` has printed.
    pub id: String,
    /// Where it is.
    #[command(flatten)]
    pub access: Access,
}

fn vin_prefix(text: &str) -> Result<String, &'static str> {
    if text.len() > VIN_BYTES || !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err("expected up to 17 letters and digits");
    }
    Ok(text.to_owned())
}

/// The vehicles of a fleet message.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("recipients").required(true).multiple(true)
    .args(["vin", "vins", "online", "vin_prefix", "all"]))]
pub struct FleetRecipients {
    /// A vehicle; may be given more than once.
    #[arg(long)]
    pub vin: Vec<Vin>,
    /// A file with a VIN on each line, or `-` for standard input. May be given beside --vin.
    #[arg(long, value_name = "FILE")]
    pub vins: Option<PathBuf>,
    /// Of the vehicles that --all names, those that are online.
    #[arg(long, conflicts_with_all = ["vin", "vins"])]
    pub online: bool,
    /// Of the vehicles that --all names, those whose VINs begin like this; with --online, those of them
    /// that are online.
    #[arg(long, value_name = "TEXT", value_parser = vin_prefix, conflicts_with_all = ["vin", "vins"])]
    pub vin_prefix: Option<String>,
    /// All vehicles that have sent the partner something since the server started.
    #[arg(long, conflicts_with_all = ["vin", "vins"])]
    pub all: bool,
}
