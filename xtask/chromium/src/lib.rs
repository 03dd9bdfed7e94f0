//! A Chromium without a window, driven by tests over its DevTools protocol.
//!
//! [`Page::open`] starts one; the rest of [`Page`] does what a person does, and looks. Everything waits
//! for what has to happen, and panics when it does not within [`PATIENCE`].

mod trace;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

pub use trace::Task;

/// Longest time for anything to happen. Only what is broken takes it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A frame of another origin, which has a session of its own.
struct Frame {
    target: String,
    session: String,
    url: String,
}

/// A page, and the browser around it.
pub struct Page {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    calls: u64,
    session: String,
    frames: Vec<Frame>,
    early: VecDeque<Value>,
    process: Child,
    _profile: TempDir,
}

impl Page {
    /// Starts a browser and opens an address in it.
    pub async fn open(url: &str, size: (u32, u32)) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let (process, endpoint) = launch(profile.path());
        let (socket, _) = connect_async(endpoint).await.unwrap();
        let mut page = Self {
            socket,
            calls: 0,
            session: String::new(),
            frames: Vec::new(),
            early: VecDeque::new(),
            process,
            _profile: profile,
        };
        let target = page.call("Target.createTarget", json!({ "url": "about:blank" }));
        let target = target.await["targetId"].clone();
        let attach = json!({ "targetId": target, "flatten": true });
        let attached = page.call("Target.attachToTarget", attach).await;
        page.session = attached["sessionId"].as_str().unwrap().to_owned();
        let follow =
            json!({ "autoAttach": true, "waitForDebuggerOnStart": false, "flatten": true });
        page.call("Target.setAutoAttach", follow).await;
        page.resize(size).await;
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            page.call(domain, json!({})).await;
        }
        page.go_to(url).await;
        page
    }

    /// Gives the page a width and a height, in pixels.
    pub async fn resize(&mut self, (width, height): (u32, u32)) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Goes to an address and waits until its page is complete.
    pub async fn go_to(&mut self, url: &str) {
        let gone = self.call("Page.navigate", json!({ "url": url })).await;
        assert_eq!(gone.get("errorText"), None, "{url}");
        self.event("Page.loadEventFired").await;
    }

    /// Runs a script in each document that comes, before its own.
    pub async fn run_before(&mut self, script: &str) {
        let script = json!({ "source": script });
        self.call("Page.addScriptToEvaluateOnNewDocument", script)
            .await;
    }

    /// Loads the page once more.
    pub async fn reload(&mut self) {
        self.call("Page.reload", json!({})).await;
        self.event("Page.loadEventFired").await;
    }

    /// Loads the page once more without what the browser has of it; how long it takes until something
    /// of it is seen.
    pub async fn first_paint(&mut self) -> Duration {
        self.call("Page.reload", json!({ "ignoreCache": true }))
            .await;
        self.event("Page.loadEventFired").await;
        let painted = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime";
        let milliseconds = self.until(painted).await.as_f64();
        Duration::from_secs_f64(milliseconds.unwrap() / 1e3)
    }

    /// Sets what the system prefers: `light` or `dark`.
    pub async fn prefers(&mut self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        let media = json!({ "features": features });
        self.call("Emulation.setEmulatedMedia", media).await;
    }

    /// What an expression is in the page; promises are waited for.
    pub async fn eval(&mut self, expression: &str) -> Value {
        let session = self.session.clone();
        self.eval_in(&session, expression).await
    }

    /// Waits until an expression is true in the page.
    pub async fn until(&mut self, expression: &str) -> Value {
        let session = self.session.clone();
        loop {
            if let Some(found) = self.try_eval(&session, &awaited(expression)).await {
                return found;
            }
        }
    }

    /// What an expression is in the frame whose address begins with this.
    pub async fn eval_frame(&mut self, url: &str, expression: &str) -> Value {
        let session = self.frame(url).await;
        self.eval_in(&session, expression).await
    }

    /// Waits until an expression is true in the frame whose address begins with this.
    pub async fn until_frame(&mut self, url: &str, expression: &str) -> Value {
        loop {
            let session = self.frame(url).await;
            if let Some(found) = self.try_eval(&session, &awaited(expression)).await {
                return found;
            }
        }
    }

    /// Presses the button that a selector finds, once it is there.
    pub async fn press(&mut self, selector: &str) {
        let found = format!("document.querySelector({})", json!(selector));
        self.until(&format!(
            "{found} && !{found}.disabled && {found}.checkVisibility()"
        ))
        .await;
        self.eval(&format!("{found}.click()")).await;
    }

    /// Types a text into the field that a selector finds, in place of what stands there.
    pub async fn fill(&mut self, selector: &str, text: &str) {
        let found = format!("document.querySelector({})", json!(selector));
        self.until(&format!(
            "{found}?.checkVisibility() && ({found}.select(), {found}.focus(), true)"
        ))
        .await;
        self.call("Input.insertText", json!({ "text": text })).await;
    }

    /// Presses a key, named as in the `key` of its event, wherever the focus is.
    pub async fn key(&mut self, key: &str) {
        let code = match key {
            "Enter" => 13,
            "Escape" => 27,
            "Tab" => 9,
            "End" => 35,
            "Home" => 36,
            "ArrowUp" => 38,
            "ArrowDown" => 40,
            _ => 0,
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({ "type": kind, "key": key, "windowsVirtualKeyCode": code });
            if key == "Enter" {
                event["text"] = json!("\r");
            }
            self.call("Input.dispatchKeyEvent", event).await;
        }
    }

    /// What the page has complained of so far: errors of scripts, and what its policy has refused.
    pub async fn complaints(&mut self) -> Vec<String> {
        // What came before the answer is there.
        self.eval("0").await;
        let is_complaint = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Log.entryAdded") => event["params"]["entry"]["level"] == "error",
            _ => false,
        };
        let complaints = self.early.iter().filter(is_complaint);
        complaints
            .map(|event| event["params"].to_string())
            .collect()
    }

    /// Begins to note what keeps the page busy.
    pub async fn start_trace(&mut self) {
        let config = json!({ "includedCategories": ["toplevel"] });
        let start = json!({ "traceConfig": config, "transferMode": "ReportEvents" });
        let answer = self.exchange("", "Tracing.start", start).await;
        assert_eq!(answer.get("error"), None);
        self.early.clear();
    }

    /// What has kept the page busy since then: the tasks of the thread that its scripts run on.
    pub async fn end_trace(&mut self) -> Vec<Task> {
        let answer = self.exchange("", "Tracing.end", json!({})).await;
        assert_eq!(answer.get("error"), None);
        self.event("Tracing.tracingComplete").await;
        let events: Vec<Value> = self
            .early
            .drain(..)
            .filter(|event| event["method"] == "Tracing.dataCollected")
            .flat_map(|event| event["params"]["value"].as_array().cloned())
            .flatten()
            .collect();
        trace::busiest(&events)
    }

    /// The page as a PNG, in base64.
    pub async fn screenshot(&mut self) -> String {
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        shot.await["data"].as_str().unwrap().to_owned()
    }

    /// The session of the latest frame whose address begins with `url`.
    async fn frame(&mut self, url: &str) -> String {
        let found = async {
            loop {
                self.note_frames();
                let mut frames = self.frames.iter().rev();
                if let Some(frame) = frames.find(|frame| frame.url.starts_with(url)) {
                    return frame.session.clone();
                }
                let message = self.receive().await;
                self.early.push_back(message);
            }
        };
        timeout(PATIENCE, found).await.expect("the frame")
    }

    fn note_frames(&mut self) {
        for event in self.early.drain(..) {
            let params = &event["params"];
            let info = &params["targetInfo"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            match event["method"].as_str() {
                Some("Target.attachedToTarget") if info["type"] == "iframe" => {
                    self.frames.push(Frame {
                        target: text(&info["targetId"]),
                        session: text(&params["sessionId"]),
                        url: text(&info["url"]),
                    });
                }
                Some("Target.targetInfoChanged") => {
                    let target = text(&info["targetId"]);
                    let known = self.frames.iter_mut();
                    for frame in known.filter(|frame| frame.target == target) {
                        frame.url = text(&info["url"]);
                    }
                }
                Some("Target.detachedFromTarget") => {
                    let gone = text(&params["sessionId"]);
                    self.frames.retain(|frame| frame.session != gone);
                }
                _ => {}
            }
        }
    }

    async fn eval_in(&mut self, session: &str, expression: &str) -> Value {
        let found = self.try_eval(session, expression).await;
        found.unwrap_or_else(|| panic!("the document has gone: {expression}"))
    }

    /// `None` if another document took the place of the one that was asked.
    async fn try_eval(&mut self, session: &str, expression: &str) -> Option<Value> {
        let params = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true,
        });
        let answer = self.exchange(session, "Runtime.evaluate", params).await;
        if let Some(error) = answer.get("error") {
            let message = error["message"].as_str().unwrap_or_default();
            let is_gone = ["navigated", "context", "promise", "Session"];
            let is_gone = is_gone.iter().any(|word| message.contains(word));
            assert!(is_gone, "{expression}: {error}");
            return None;
        }
        let answer = &answer["result"];
        let thrown = answer.get("exceptionDetails");
        assert_eq!(thrown, None, "{expression}");
        let value = answer["result"].get("value").cloned();
        Some(value.unwrap_or(Value::Null))
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        let session = self.session.clone();
        let answer = self.exchange(&session, method, params).await;
        assert_eq!(answer.get("error"), None, "{method}");
        answer["result"].clone()
    }

    async fn exchange(&mut self, session: &str, method: &str, params: Value) -> Value {
        self.calls += 1;
        let id = self.calls;
        let mut call = json!({ "id": id, "method": method, "params": params });
        if !session.is_empty() {
            call["sessionId"] = json!(session);
        }
        let sent = self.socket.send(Message::text(call.to_string())).await;
        sent.unwrap();
        let answered = async {
            loop {
                let message = self.receive().await;
                if message["id"] == id {
                    return message;
                }
                // What was asked of a frame that goes is not always answered.
                let is_gone = message["method"] == "Target.detachedFromTarget"
                    && message["params"]["sessionId"] == session;
                self.early.push_back(message);
                if is_gone {
                    return json!({ "error": { "message": "Session has gone" } });
                }
            }
        };
        let answer = timeout(PATIENCE, answered).await;
        answer.unwrap_or_else(|_| panic!("no answer to {call}"))
    }

    async fn event(&mut self, method: &str) {
        let came = async { while self.receive_later().await["method"] != method {} };
        timeout(PATIENCE, came).await.expect(method);
    }

    async fn receive_later(&mut self) -> Value {
        let message = self.receive().await;
        self.early.push_back(message.clone());
        message
    }

    async fn receive(&mut self) -> Value {
        loop {
            let message = self.socket.next().await.expect("an open browser").unwrap();
            if let Message::Text(text) = message {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _already_gone = self.process.kill();
        let _already_gone = self.process.wait();
    }
}

/// An expression that is waited for: pages that are hidden have timers as well.
fn awaited(expression: &str) -> String {
    format!(
        "new Promise((resolve) => {{ const look = () => {{ \
           let found; try {{ found = {expression}; }} catch {{}} \
           if (found) resolve(found); else setTimeout(look, 10); }}; look(); }})"
    )
}

/// Starts the browser; returns it and where it is spoken to.
fn launch(profile: &Path) -> (Child, String) {
    let profile = format!("--user-data-dir={}", profile.display());
    let mut process = Command::new("chromium")
        .args(["--headless=new", "--remote-debugging-port=0", &profile])
        // Its sandbox needs rights that a container of a test run does not have.
        .args(["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"])
        .args(["--no-first-run", "--disable-background-networking"])
        // Names that nobody can own, for pages that are reached by a domain.
        .arg("--host-resolver-rules=MAP *.example 127.0.0.1")
        // A frame can be asked only in a process of its own, which frames of one site do not have.
        .arg("--isolate-origins=http://[*.]car.example")
        .args([
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
        ])
        .args(["--site-per-process", "about:blank"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("chromium; `cargo xtask test` installs it");
    let stderr = BufReader::new(process.stderr.take().unwrap());
    let mut lines = stderr.lines().map_while(Result::ok);
    let endpoint = lines.find_map(|line| {
        let (_, endpoint) = line.split_once("DevTools listening on ")?;
        Some(endpoint.trim().to_owned())
    });
    // It would wait if nobody read what else it says.
    std::thread::spawn(move || lines.for_each(drop));
    (process, endpoint.expect("a browser that starts"))
}
