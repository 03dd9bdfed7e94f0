//! `token`: the clients of the bus and their tokens.

use clap::{Args, Subcommand};

use super::Access;
use crate::bus::ClientName;

const EXAMPLES: &str = "\
Examples:
  host-server token create-client --app myapp --client dashboard --permission ui.content --permission session.*
  host-server token issue --app myapp --client dashboard
  host-server token show \"$(host-server token issue --app myapp --client dashboard)\"
  host-server token list

A client connects to ws://HOST:8080/mqtt (or by TCP) with its token as the user name and any password
that is not empty. Permissions are resource.scope, resource.* or *, always within the client's app.";

/// `token`: what to do.
#[derive(Args, Debug)]
#[command(arg_required_else_help = true, after_help = EXAMPLES)]
pub struct TokenArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// What can be done with clients and tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a client of the bus, and print its secret, which is shown this once
    CreateClient {
        /// The app that the client belongs to; its first client makes an app.
        #[arg(long)]
        app: ClientName,
        /// The client's name within the app. [default: a random one]
        #[arg(long)]
        client: Option<ClientName>,
        /// A name for people.
        #[arg(long)]
        name: Option<String>,
        /// What it may do: resource.scope, resource.* or *; give it once for each. [default: *]
        #[arg(long = "permission", value_name = "PERMISSION")]
        permissions: Vec<String>,
        /// Print one JSON object, for programs.
        #[arg(long)]
        json: bool,
        /// The server.
        #[command(flatten)]
        access: Access,
    },
    /// List clients and what each may do
    List {
        /// Only those of this app.
        #[arg(long)]
        app: Option<ClientName>,
        /// Print a JSON object for each, one a line.
        #[arg(long)]
        json: bool,
        /// The server.
        #[command(flatten)]
        access: Access,
    },
    /// Replace what a client may do; sessions that are open obey at once
    SetPermissions {
        /// Which client.
        #[command(flatten)]
        of: Of,
        /// What it may do from now on; give it once for each.
        #[arg(long = "permission", value_name = "PERMISSION", required = true)]
        permissions: Vec<String>,
        /// The server.
        #[command(flatten)]
        access: Access,
    },
    /// Let no token count that a client got so far; it can get a new one with its secret
    Revoke {
        /// Which client.
        #[command(flatten)]
        of: Of,
        /// The server.
        #[command(flatten)]
        access: Access,
    },
    /// Let a client do nothing, until it is enabled again
    Disable {
        /// Which client.
        #[command(flatten)]
        of: Of,
        /// The server.
        #[command(flatten)]
        access: Access,
    },
    /// Let a client work again that was disabled
    Enable {
        /// Which client.
        #[command(flatten)]
        of: Of,
        /// The server.
        #[command(flatten)]
        access: Access,
    },
    /// Remove a client for good; its tokens and sessions end
    Remove {
        /// Which client.
        #[command(flatten)]
        of: Of,
        /// The server.
        #[command(flatten)]
        access: Access,
    },
    /// Print a fresh token of a client, and nothing else
    Issue {
        /// Which client.
        #[command(flatten)]
        of: Of,
        /// The server.
        #[command(flatten)]
        access: Access,
    },
    /// Print what a token says, without asking a server and without checking its signature
    Show {
        /// The token, or `-` to read it from standard input.
        token: String,
    },
}

/// Which client.
#[derive(Args, Debug)]
pub struct Of {
    /// The app.
    #[arg(long)]
    pub app: ClientName,
    /// The client's name within the app.
    #[arg(long)]
    pub client: ClientName,
}
