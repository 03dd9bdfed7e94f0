//! A terminal in which a reader of the README would type.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::ports::Ports;

/// How long anything in the tour may take. A reader loses patience earlier; a busy machine that
/// runs all tests at once may need it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A shell with commands in it; they end when it is dropped.
pub(crate) struct Terminal {
    shell: Mutex<Child>,
    screen: Arc<Screen>,
}

/// What a terminal shows so far.
#[derive(Default)]
struct Screen {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    text: String,
    /// Of its two streams, those that have ended.
    ended: u8,
}

impl Terminal {
    /// Opens a terminal in `folder` and runs `commands`.
    pub(crate) fn open(folder: &Path, commands: &str, ports: &Ports) -> Self {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("bash")
            .args(["-euo", "pipefail", "-c", commands])
            .current_dir(folder)
            .env(
                "PATH",
                format!("{}:{path}", folder.join("target").display()),
            )
            .env("HOME", folder)
            .env("NO_COLOR", "1")
            .env_remove("CARGO")
            .env_remove("RUST_LOG")
            .envs(ports.environment())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("bash can be started");
        let screen = Arc::new(Screen::default());
        screen.follow(shell.stdout.take().expect("it is piped"));
        screen.follow(shell.stderr.take().expect("it is piped"));
        Self {
            shell: Mutex::new(shell),
            screen,
        }
    }

    /// Types a text.
    pub(crate) fn type_in(&mut self, text: &str) {
        let shell = self.shell.get_mut().expect("no thread panicked");
        let input = shell.stdin.as_mut().expect("it is piped");
        input
            .write_all(text.as_bytes())
            .expect("the terminal takes what is typed");
        input.flush().expect("the terminal takes what is typed");
    }

    /// Waits until the terminal shows a line with `pattern` in it, `…` standing for any text.
    pub(crate) fn prints(&self, name: &str, pattern: &str) {
        let found = self
            .screen
            .wait(|state| state.text.lines().any(|line| matches(line, pattern)));
        let shown = self.screen.text();
        assert!(found, "{name} does not print\n{pattern}\nit shows\n{shown}");
    }

    /// Waits for the commands to end, which they must do well.
    pub(crate) fn succeeds(&self, name: &str) {
        let ended = self.screen.wait(|state| state.ended == 2);
        let shown = self.screen.text();
        assert!(ended, "{name} does not end; it shows\n{shown}");
        let status = self.shell.lock().expect("no thread panicked").wait();
        let status = status.expect("it was started");
        assert!(
            status.success(),
            "{name} ends with {status}; it shows\n{shown}"
        );
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let shell = self
            .shell
            .get_mut()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Ok(None) = shell.try_wait() {
            let group = format!("-{}", shell.id());
            let _ = Command::new("kill").args(["-TERM", "--", &group]).status();
            let _ = shell.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- a terminal of the tour showed\n{}", self.screen.text());
        }
    }
}

impl Screen {
    fn follow(self: &Arc<Self>, mut stream: impl Read + Send + 'static) {
        let screen = Arc::clone(self);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..count]);
                screen.change(|state| state.text.push_str(&text));
            }
            screen.change(|state| state.ended += 1);
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().expect("no thread panicked"));
        self.changed.notify_all();
    }

    /// Waits until `reached`, or until neither patience nor the program lasts.
    fn wait(&self, reached: impl Fn(&State) -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.state.lock().expect("no thread panicked");
        while !reached(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.ended == 2 {
                return false;
            }
            let waited = self
                .changed
                .wait_timeout(state, left)
                .expect("no thread panicked");
            state = waited.0;
        }
        true
    }

    fn text(&self) -> String {
        self.state.lock().expect("no thread panicked").text.clone()
    }
}

/// Whether the parts of `pattern` between `…` stand in `line`, in their order.
fn matches(line: &str, pattern: &str) -> bool {
    let mut rest = line;
    pattern.split('…').all(|part| match rest.split_once(part) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

#[test]
fn pattern_is_found_in_order() {
    assert!(matches(r#"12:00 {"a":1,"b":2}"#, r#"{…"b":2}"#));
    assert!(!matches(r#"{"b":2,"a":1}"#, r#"{…"a"…"b"…}"#));
}
