//! Runs a cross-built agent in an emulator against the real host server: one message down and one
//! up, over mutual TLS.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::Value;

use super::program::Program;
use crate::command::{cargo, program, root, run};

const VIN: &str = "0123456789ABCDEFG";
const DOWN: &str = r#"{"greeting":"Hello,car!"}"#;
const UP: &str = r#"{"greeting":"Hello,partner!"}"#;

/// Tries an agent; `agent` are the words that start it.
pub(super) fn try_out(agent: &[String]) -> Result<()> {
    run(&mut cargo(&[
        "build",
        "--package=vinbus-host-server",
        "--bin=host-server",
        "--target-dir=target",
    ]))?;
    let folder = tempfile::tempdir().context("cannot make a folder for the trial")?;
    let place = Place {
        agent,
        server: root().join("target/debug/host-server"),
        folder: folder.path(),
    };
    place.exchange_messages()
}

/// Where the programs run, and which.
struct Place<'a> {
    agent: &'a [String],
    server: PathBuf,
    folder: &'a Path,
}

impl Place<'_> {
    fn exchange_messages(&self) -> Result<()> {
        let mut server = Program::start(
            "host-server",
            &mut self.server("--http 127.0.0.1:0 --mqtt 127.0.0.1:0 --mqtts 127.0.0.1:0"),
        )?;
        server.prints(" is ready")?;
        let (http, mqtts) = self.addresses()?;
        run(&mut self.server(&format!("enroll vehicle {VIN} --out car")))?;

        let started = Instant::now();
        let mut agent = Program::start(
            "vehicle-agent run",
            &mut self.agent(&format!(
                "run --vin {VIN} --broker mqtts://{mqtts} --ca car/ca.pem --cert car/cert.pem \
                 --key car/key.pem --app demo=demo-partner --portal 127.0.0.1:0"
            )),
        )?;
        let portal = agent.prints("for programs at ws://")?;
        let (portal, _) = portal.split_once('/').context("the portal has a path")?;
        agent.prints("connected to the broker")?;
        let connected = started.elapsed();

        let mut partner = Program::start(
            "host-server listen",
            &mut self.server(&format!("listen --url http://{http}")),
        )?;
        partner.prints("listening at")?;
        let mut app = Program::start(
            "vehicle-agent app",
            &mut self.agent(&format!("app --app demo --portal {portal}")),
        )?;
        app.prints("in the foreground")?;

        let send = format!("send --url http://{http} --vin {VIN} --app demo --content {DOWN}");
        run(&mut self.server(&send))?;
        app.prints(DOWN)?;
        app.types(UP)?;
        partner.prints(UP)?;
        println!(
            "the agent was connected with mutual TLS after {connected:.1?}; a message came down to \
             its app, and one went up"
        );
        Ok(())
    }

    /// Where the host server listens for HTTP and for MQTT over TLS.
    fn addresses(&self) -> Result<(String, String)> {
        let file = self.folder.join("vinbus-data/addresses.json");
        let text = std::fs::read(&file).with_context(|| format!("no {}", file.display()))?;
        let addresses: Value = serde_json::from_slice(&text)?;
        let address = |name| addresses[name].as_str().map(str::to_owned);
        address("http")
            .zip(address("mqtts"))
            .with_context(|| format!("{} has no address of http or mqtts", file.display()))
    }

    /// The host server with the words of `arguments`.
    fn server(&self, arguments: &str) -> Command {
        self.inside(program(&self.server, &words(arguments)))
    }

    /// The agent with the words of `arguments`.
    fn agent(&self, arguments: &str) -> Command {
        let mut command = program(&self.agent[0], &[]);
        command.args(&self.agent[1..]).args(words(arguments));
        self.inside(command)
    }

    fn inside(&self, mut command: Command) -> Command {
        command
            .current_dir(self.folder)
            .env("NO_COLOR", "1")
            .env_remove("VINBUS_LOG");
        command
    }
}

fn words(arguments: &str) -> Vec<&str> {
    arguments.split_whitespace().collect()
}
