//! The server, which is killed, started again on the same ports, and whose disk gets full.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use tokio::process::Command;

use crate::append;
use crate::cli_support::{Server, clean, done};

pub(crate) struct Host {
    dir: PathBuf,
    server: Server,
    http: SocketAddr,
    pub(crate) mqtts: SocketAddr,
}

impl Host {
    pub(crate) async fn start(dir: PathBuf) -> Self {
        let server = launch(&dir, "127.0.0.1:0", "127.0.0.1:0").await;
        let (http, mqtts) = (server.address("http"), server.address("mqtts"));
        Self {
            dir,
            server,
            http,
            mqtts,
        }
    }

    /// Kills it, and starts it again after this time.
    pub(crate) async fn restart(&mut self, away: Duration) {
        self.server.signal("KILL");
        self.server.ended().await;
        self.log();
        tokio::time::sleep(away).await;
        let (http, mqtts) = (self.http.to_string(), self.mqtts.to_string());
        self.server = launch(&self.dir, &http, &mqtts).await;
    }

    /// From now on, nothing more can be written to any file, or everything can.
    pub(crate) fn disk_is_full(&self, full: bool) {
        let limit = if full {
            "--fsize=1:"
        } else {
            "--fsize=unlimited:"
        };
        let process = self.server.process().to_string();
        let set = std::process::Command::new("prlimit")
            .args([limit, "--pid", &process])
            .status();
        assert!(set.expect("prlimit is a part of util-linux").success());
    }

    /// Makes so many vehicles, each in a folder that is named by its VIN.
    pub(crate) async fn enroll(&self, count: usize) -> Vec<PathBuf> {
        let (out, count) = (self.dir.with_file_name("cars"), count.to_string());
        let path = out.display().to_string();
        let args = ["enroll", "vehicles", "--count", &count, "--out", &path];
        done(&self.server.command(&args).await);
        let entries = std::fs::read_dir(out).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut cars: Vec<_> = paths.filter(|path| path.is_dir()).collect();
        cars.sort();
        cars
    }

    /// Its interface, which stays where it is when it is killed.
    pub(crate) fn rest(&self) -> Rest {
        let http = Client::builder().timeout(Duration::from_secs(30)).build();
        Rest {
            http: http.unwrap(),
            url: self.server.url(),
            token: self.server.token(),
        }
    }

    /// Keeps what it printed.
    pub(crate) fn log(&self) {
        append(&self.dir.with_extension("log"), &self.server.printed());
    }
}

async fn launch(dir: &Path, http: &str, mqtts: &str) -> Server {
    let mut command = clean(Command::new("sh"));
    // What cannot be written is an error then, and no signal.
    let ignoring = ["-c", "trap '' XFSZ; exec \"$0\" \"$@\""];
    command
        .args(ignoring)
        .arg(env!("CARGO_BIN_EXE_host-server"));
    command.args(["--mqtt", "off", "--http", http, "--mqtts", mqtts]);
    Server::launch(command.stdin(Stdio::null()), dir).await
}

#[derive(Clone)]
pub(crate) struct Rest {
    http: Client,
    url: String,
    token: String,
}

impl Rest {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/api/v1{path}", self.url);
        self.http.request(method, url).bearer_auth(&self.token)
    }

    /// The id of a message that was accepted.
    pub(crate) async fn send(&self, vin: &str, content: &Value) -> Option<String> {
        let path = format!("/vehicles/{vin}/messages?receipts=yes");
        let body = format!(r#"{{"idApp":"demo-app","content":{content}}}"#);
        let answer = self.request(Method::POST, &path).body(body).send();
        let accepted: Value = answer.await.ok()?.json().await.ok()?;
        Some(accepted["id"].as_str()?.to_owned())
    }

    /// How far a message is.
    pub(crate) async fn status(&self, id: &str) -> String {
        let trace = self.get(&format!("/messages/{id}")).await;
        trace["status"].as_str().unwrap_or("unknown").to_owned()
    }

    /// What a vehicle's apps sent, receipts left out.
    pub(crate) async fn log(&self, vin: &str) -> Vec<Value> {
        let (mut contents, mut after) = (Vec::new(), "0".to_owned());
        loop {
            let page = format!("/messages?vin={vin}&limit=1000&after={after}");
            let mut page = self.get(&page).await;
            for message in page["messages"].as_array_mut().unwrap() {
                if message["subtopic"].is_null() {
                    contents.push(message["content"].take());
                }
            }
            if page["more"] == false {
                return contents;
            }
            after = page["next"].as_str().unwrap().to_owned();
        }
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.request(Method::GET, path).send().await.unwrap();
        answer.json().await.unwrap()
    }
}
