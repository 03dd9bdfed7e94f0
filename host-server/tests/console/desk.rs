//! Somebody who is signed in to the console.

use serde_json::json;
use tempfile::TempDir;
use vinbus_chromium::Page;

use crate::cli_support::{Server, done};
use crate::rest_support::Rest;

/// What a window of the console's shows well.
pub(crate) const SIZE: (u32, u32) = (1440, 900);

/// A server and its console.
pub(crate) struct Desk {
    pub(crate) server: Server,
    pub(crate) page: Page,
    _folder: TempDir,
}

impl Desk {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(&folder.path().join("data")).await;
        let page = open(&link(&server).await).await;
        Self {
            server,
            page,
            _folder: folder,
        }
    }

    /// Types a message for an app into the form.
    pub(crate) async fn write(&mut self, vin: &str, app: &str, content: &str) {
        self.page.fill("#send-vin", vin).await;
        self.page.fill("#send-app", app).await;
        self.page.fill("#content", content).await;
    }

    /// Waits until a message whose text contains `part` is shown among the messages.
    pub(crate) async fn shows_message(&mut self, part: &str) {
        let shown = format!("{}.some((text) => text.includes({}))", rows(), json!(part));
        self.page.until(&shown).await;
    }

    /// The texts of the messages in sight, newest first.
    pub(crate) async fn messages(&mut self) -> Vec<String> {
        let rows = self.page.eval(&rows()).await;
        serde_json::from_value(rows).unwrap()
    }

    /// Waits until an element shows exactly this.
    pub(crate) async fn shows(&mut self, selector: &str, text: &str) {
        let found = format!("document.querySelector({})", json!(selector));
        let shown = format!("{found}?.textContent === {}", json!(text));
        self.page.until(&shown).await;
    }
}

/// The rows of messages in sight, newest first, as texts.
fn rows() -> String {
    "[...document.querySelectorAll('#message-list .row')].filter((row) => !row.hidden)\
     .sort((one, other) => one.dataset.place - other.dataset.place)\
     .map((row) => [...row.querySelectorAll('span')].filter((part) => !part.children.length)\
     .map((part) => part.textContent).join(' '))"
        .to_owned()
}

/// A fresh link to the console, as its command prints it.
pub(crate) async fn link(server: &Server) -> String {
    done(&server.command(&["console"]).await).trim().to_owned()
}

/// An address with a fresh link to the console of a server without processes.
pub(crate) fn address(rest: &Rest) -> String {
    let link = rest.sessions.link().unwrap();
    address_with(rest, link.expose())
}

/// The address that signs in with this secret.
pub(crate) fn address_with(rest: &Rest, secret: &str) -> String {
    format!("http://{}/#sign-in={secret}", rest.address)
}

/// A browser in which a link to the console was opened, once what happens is shown there.
pub(crate) async fn open(link: &str) -> Page {
    let mut page = Page::open(link, SIZE).await;
    is_live(&mut page).await;
    page
}

/// Waits until a page shows what happens.
pub(crate) async fn is_live(page: &mut Page) {
    page.until("document.querySelector('#link').dataset.state === 'live'")
        .await;
}
