//! `vehicle-agent pages`: serves the pages of apps beside a browser, for the portal of a board.
//!
//! A board has no room for them. So the head unit, which has the browser, has the apps as well: each
//! at a host name of its own, as the portal on Linux serves them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use crate::app_page::AppTitle;
use crate::linux::args::{AppFolder, address};
use crate::linux::failure::Failure;
use crate::linux::listen::listen;
use crate::linux::portal::{AppPage, AppPages, ConnectionBounds, LOCALHOST, PagesAlone};
use crate::linux::run::terminated;
use crate::page_url::PageUrl;

/// Connections at a time, and the longest time for a request's head.
const BOUNDS: ConnectionBounds = ConnectionBounds {
    connections: 64,
    header_time: Duration::from_secs(10),
};

/// Options of `pages`.
#[derive(Debug, Args)]
pub struct PagesArgs {
    /// The folder with the web pages of an app, an index.html among them; may be repeated, or a list
    /// with commas.
    #[arg(
        long,
        env = "VINBUS_AGENT_APP_PAGES",
        value_name = "IDAPP=DIR",
        value_delimiter = ',',
        required = true
    )]
    pub app_pages: Vec<AppFolder>,

    /// The address of the board's portal in the browser, such as http://192.168.1.20:8090: no other
    /// page may show the apps.
    #[arg(long, value_name = "URL", value_parser = origin)]
    pub portal: String,

    /// Where to listen. Port 0 takes a free one.
    #[arg(
        long,
        env = "VINBUS_AGENT_PAGES",
        value_name = "ADDR",
        default_value = "127.0.0.1:8091",
        value_parser = address
    )]
    pub listen: SocketAddr,
}

/// Serves until SIGTERM or Ctrl-C, and prints first what `provision` is given for each app.
///
/// # Errors
/// When a folder cannot be read, or the address is taken.
pub async fn run(args: PagesArgs) -> Result<(), Failure> {
    let folders = args.app_pages.into_iter();
    let folders = folders.map(|AppFolder { app, folder }| (app, folder));
    let pages = AppPages::open(LOCALHOST, folders).map_err(Failure::Configuration)?;
    let listener = listen("--listen", args.listen).await?;
    let port = listener.local_addr().context("the socket is gone")?.port();
    for app in pages.apps() {
        println!("{}", board_options(app, port));
    }
    let pages = PagesAlone::new(pages, args.portal);
    pages.serve(listener, BOUNDS, terminated()).await;
    Ok(())
}

/// What `provision` is given so that the board's portal has this app, as it is typed into a shell.
fn board_options(app: &AppPage, port: u16) -> String {
    let AppPage {
        app_id,
        title,
        host,
        ..
    } = app;
    let url = shell_word(&format!("{app_id}=http://{host}:{port}/"));
    // The identifier is shown where there is no title, or none that a board could keep.
    if title == app_id || AppTitle::parse(title).is_none() {
        return format!("--app-url {url}");
    }
    let title = shell_word(&format!("{app_id}={title}"));
    format!("--app-url {url} --app-title {title}")
}

/// A text as one word of a shell's command line.
fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "=:/._-".contains(c);
    if text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn origin(text: &str) -> Result<String, String> {
    let url = PageUrl::parse(text).ok_or("it is an address such as http://192.168.1.20:8090")?;
    Ok(url.origin().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_for_a_board_are_words_that_a_shell_takes_as_they_are_meant() {
        let folder = tempfile::tempdir().unwrap();
        let options = |app: &str, title: &str| {
            let html = format!("<!doctype html><title>{title}</title>");
            std::fs::write(folder.path().join("index.html"), html).unwrap();
            let app = vinbus_protocol::id::AppId::parse(app).unwrap();
            let pages = AppPages::open(LOCALHOST, [(app, folder.path().into())]).unwrap();
            board_options(pages.apps().next().unwrap(), 8091)
        };
        let url = "--app-url demo=http://demo.localhost:8091/";
        assert_eq!(options("demo", ""), url);
        assert_eq!(options("demo", &"x".repeat(65)), url);
        assert_eq!(
            options("demo", "Demo"),
            format!("{url} --app-title demo=Demo")
        );
        assert_eq!(
            options("demo", "Zoë's; $HOME"),
            format!(r"{url} --app-title 'demo=Zoë'\''s; $HOME'")
        );
    }
}
