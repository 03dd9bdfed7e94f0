//! `explain-acl`: why a token may, or may not, do something on a topic of the bus.

use clap::{Args, ValueEnum};

use super::{ServerArgs, secret};
use crate::identity::Secret;

/// `explain-acl`: which token, which topic.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The token of the client.
    #[arg(long, value_name = "TOKEN", value_parser = secret)]
    pub token: Secret,
    /// A topic, or a filter to subscribe with.
    #[arg(long, value_name = "TOPIC")]
    pub topic: String,
    /// Only this. [default: all three; of a filter, subscribe]
    #[arg(long)]
    pub action: Option<TopicAction>,
    /// Where the server is.
    #[command(flatten)]
    pub server: ServerArgs,
    /// The administrator's token; without it, the one in the data folder is used.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "VINBUS_TOKEN",
        hide_env_values = true,
        value_parser = secret
    )]
    pub admin_token: Option<Secret>,
}

/// What a client may want to do with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TopicAction {
    /// Publish on it.
    Publish,
    /// Subscribe with it.
    Subscribe,
    /// Hear a message on it.
    Deliver,
}
