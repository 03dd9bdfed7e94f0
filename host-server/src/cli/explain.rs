//! `explain-acl`: why a token may, or may not, do something on a topic of the bus.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Access, secret};
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
    /// Only this. [default: all three]
    #[arg(long)]
    pub action: Option<TopicAction>,
    /// The server. [default: that which runs on the data folder, else http://127.0.0.1:8080]
    #[arg(long, value_name = "URL", env = "VINBUS_URL")]
    pub url: Option<String>,
    /// The administrator's token; without it, the one in the data folder is used.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "VINBUS_TOKEN",
        hide_env_values = true,
        value_parser = secret
    )]
    pub admin_token: Option<Secret>,
    /// The server's data folder, where the administrator's token is. [default: vinbus-data]
    #[arg(long, value_name = "DIR", env = "VINBUS_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
}

impl ExplainArgs {
    /// Where the server is, and who asks it.
    pub(crate) fn access(&self) -> Access {
        Access {
            url: self.url.clone(),
            token: self.admin_token.clone(),
            data_dir: self.data_dir.clone(),
        }
    }
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
