//! A board whose portal is open in a browser, beside which the head unit serves the apps' pages.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::Instant;
use vinbus_chromium::Page;

use crate::PATIENCE;
use crate::board::{APP, Board, UID, free_address};
use crate::log::Log;
use crate::server::{Listener, Server, done};

/// A board, its server, and its portal's page.
pub(crate) struct Cabin {
    pub(crate) server: Server,
    pub(crate) board: Board,
    pub(crate) listener: Listener,
    pub(crate) page: Page,
    _pages: Child,
    _folders: TempDir,
}

impl Cabin {
    /// With one app of one page.
    pub(crate) async fn with_page(app: &str, html: &str) -> Self {
        Self::with_pages(&[(app, html)]).await
    }

    /// With apps of one page each.
    pub(crate) async fn with_pages(apps: &[(&str, &str)]) -> Self {
        let folders = tempfile::tempdir().unwrap();
        for (app, html) in apps {
            let folder = folders.path().join(app);
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("index.html"), html).unwrap();
        }
        let apps = apps.iter().map(|(app, _)| (*app, folders.path().join(app)));
        let apps: Vec<_> = apps.collect();
        let apps: Vec<_> = apps
            .iter()
            .map(|(app, path)| (*app, path.as_path()))
            .collect();
        Self::open(&apps, folders).await
    }

    /// With apps that have their pages in these folders.
    pub(crate) async fn with_folders(apps: &[(&str, &Path)]) -> Self {
        Self::open(apps, tempfile::tempdir().unwrap()).await
    }

    async fn open(apps: &[(&str, &Path)], folders: TempDir) -> Self {
        let server = Server::start(&[]).await;
        let portal = free_address();
        let (pages, page_options) = serve_pages(apps, portal).await;
        let mut options = Vec::new();
        for (app, _) in apps {
            if *app != APP {
                options.push(format!("--app={app}={UID}"));
            }
        }
        options.extend(page_options);
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        let mut board = Board::start_at(portal, Some(&server.block(&options).await));
        let listener = server.listen().await;
        board.online().await;
        let mut page = Page::open(&format!("http://{portal}/"), (800, 480)).await;
        page.until("document.querySelector('.tile')").await;
        Self {
            server,
            board,
            listener,
            page,
            _pages: pages,
            _folders: folders,
        }
    }

    /// Sends a message to an app.
    pub(crate) async fn send(&self, app: &str, content: &Value) {
        done(&self.server.send_to(app, &content.to_string()).await);
    }

    /// Waits until so many messages were kept.
    pub(crate) async fn pending_reaches(&self, level: u64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.board.status().await;
            if status["downlinks"]["pending"].as_u64() >= Some(level) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{level} are not pending: {status}"
            );
        }
    }

    /// Starts an app, or shows it, and waits until the agent has it in the foreground.
    pub(crate) async fn open_app(&mut self, app: &str) {
        self.page.press(&tile(app, "open")).await;
        self.until(app, "isShown").await;
    }

    /// Goes from an app to the launcher and waits until the agent has the app in the background, which
    /// it hears of by another way than of messages.
    pub(crate) async fn home(&mut self, app: &str) {
        self.page.press("#home").await;
        self.until(app, "!isShown").await;
    }

    /// What an expression is in an app's page.
    pub(crate) async fn eval(&mut self, app: &str, expression: &str) -> Value {
        self.page.eval_frame(&host(app), expression).await
    }

    /// Waits until an expression is true in an app's page.
    pub(crate) async fn until(&mut self, app: &str, expression: &str) -> Value {
        self.page.until_frame(&host(app), expression).await
    }
}

/// Starts `vehicle-agent pages`; what `provision` is given for the apps.
pub(crate) async fn serve_pages(
    apps: &[(&str, &Path)],
    portal: SocketAddr,
) -> (Child, Vec<String>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vehicle-agent"));
    command.args(["pages", "--listen", "127.0.0.1:0"]);
    command.arg(format!("--portal=http://{portal}"));
    for (app, folder) in apps {
        command.arg(format!("--app-pages={app}={}", folder.display()));
    }
    let mut process = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut log = Log::of("pages", process.stdout.take().unwrap());
    let mut options = Vec::new();
    for (app, _) in apps {
        let line = log.until(&format!("{app}=http://")).await;
        let (url, title) = line.split_once(" --app-title ").unwrap_or((&line, ""));
        options.push(url.replace("--app-url ", "--app-url="));
        if !title.is_empty() {
            options.push(format!("--app-title={}", title.trim_matches('\'')));
        }
    }
    (process, options)
}

/// The selector of a button on an app's tile.
pub(crate) fn tile(app: &str, button: &str) -> String {
    format!(".tile[data-app='{app}'] > .{button}")
}

fn host(app: &str) -> String {
    format!("http://{app}.localhost:")
}
