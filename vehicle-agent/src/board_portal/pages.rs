//! What browsers get of a board: the portal's page, the script for apps, and which apps have pages.
//!
//! A board serves no pages of apps: they come from the addresses that its block names, each of an
//! origin of its own. Files leave the flash as they lie there.

use core::fmt::{self, Display};
use core::net::Ipv4Addr;

use super::Portal;
use super::request::Request;
use crate::app_interface::server_frame::Quoted;
use crate::app_page::{AppPage, AppTitle};
use crate::portal_page::{APP_SCRIPT, HEADERS, PAGE, POLICY, PageFile};

/// A file that a browser asks for; the head of the answer is its [`Display`].
pub(super) struct Asked<'p> {
    file: &'static PageFile,
    /// The browser has this version.
    known: bool,
    pages: &'p [Option<AppPage<'p>>],
}

impl<'p> Asked<'p> {
    /// The file that a request asks for, on a portal whose apps have these pages.
    pub(super) fn of(request: &Request<'_>, pages: &'p [Option<AppPage<'p>>]) -> Option<Self> {
        let files = [&PAGE, &APP_SCRIPT];
        let file = files.into_iter().find(|file| file.path == request.path())?;
        let tags = request.header("if-none-match");
        let known = tags.is_some_and(|tags| file.is_known(tags));
        Some(Self { file, known, pages })
    }

    /// What follows the head.
    pub(super) fn body(&self) -> &'static [u8] {
        if self.known { &[] } else { self.file.gzip }
    }
}

impl Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, known, pages } = self;
        let PageFile {
            media_type,
            tag,
            gzip,
            ..
        } = file;
        let status = if *known { "304 Not Modified" } else { "200 OK" };
        write!(f, "HTTP/1.1 {status}\r\nConnection: close\r\n")?;
        write!(f, "Content-Type: {media_type}\r\nETag: {tag}\r\n")?;
        for (name, value) in HEADERS {
            write!(f, "{name}: {value}\r\n")?;
        }
        if **file == PAGE {
            write!(f, "Content-Security-Policy: {POLICY}")?;
            for page in pages.iter().flatten() {
                write!(f, " {}", page.url.origin())?;
            }
            if pages.iter().flatten().next().is_none() {
                f.write_str(" 'none'")?;
            }
            f.write_str("\r\nCross-Origin-Opener-Policy: same-origin\r\n")?;
        } else {
            // Apps of any origin have it in front of their own.
            f.write_str("Cross-Origin-Resource-Policy: cross-origin\r\n")?;
        }
        if !known {
            let len = gzip.len();
            write!(f, "Content-Encoding: gzip\r\nContent-Length: {len}\r\n")?;
        }
        f.write_str("\r\n")
    }
}

/// The apps that have pages, as JSON.
pub(super) struct AppList<'p, 'b, const APPS: usize, const PLACES: usize>(
    pub(super) &'p Portal<'b, APPS, PLACES>,
);

impl<const APPS: usize, const PLACES: usize> Display for AppList<'_, '_, APPS, PLACES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(portal) = self;
        let pages = portal.apps.iter().zip(portal.settings.pages);
        let pages = pages.filter_map(|(app, page)| Some((app.as_str(), page.as_ref()?)));
        f.write_str("[")?;
        for (index, (app, page)) in pages.enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            let title = Quoted(page.title.as_ref().map_or(app, AppTitle::as_str));
            let (app, url) = (Quoted(app), page.url.as_str());
            write!(f, r#"{{"appId":{app},"title":{title},"url":"{url}"}}"#)?;
        }
        f.write_str("]")
    }
}

/// Whether an origin is that of the page which this portal served: the address that the browser has
/// connected to. Only an address in numbers counts, or `localhost`: another name may have led to other
/// pages before it led here.
pub(super) fn is_own(origin: &str, request: &Request<'_>) -> bool {
    let Some(host) = request.header("host") else {
        return false;
    };
    let name = host.split(':').next().unwrap_or_default();
    let cannot_move = name == "localhost" || name.parse::<Ipv4Addr>().is_ok();
    cannot_move && origin.strip_prefix("http://") == Some(host)
}
