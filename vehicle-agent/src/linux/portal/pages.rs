//! What browsers get: the portal's own page, and the pages of apps, each from a host name of its own.
//!
//! An app's folder is served at `http://{name}.localhost:{port}/`, which browsers take for the machine
//! they run on. So each app is an origin, and a site, of its own: with its own storage and cookies,
//! and without a way to another app or to the portal's page, but for the messages that both sides
//! agree to. A page of an app has [`APP_SCRIPT`] in front of its own scripts. Below another domain, for
//! browsers elsewhere, all apps are one site: still origins of their own, but for cookies that an app
//! sets for the whole domain.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::net::TcpListener;

use vinbus_protocol::id::AppId;

use super::app_files::app_file;
use super::connections::{self, ConnectionBounds};
use super::origin::{LOCALHOST, Origins};
use crate::portal_page::{APP_SCRIPT, HEADERS, PAGE, POLICY, PageFile};

/// The apps that have pages.
#[derive(Debug)]
pub(crate) struct AppPages {
    domain: String,
    pages: Vec<AppPage>,
}

/// What the portal's page is told of an app.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AppPage {
    pub(crate) app_id: String,
    /// The title of its first page, or its identifier.
    pub(crate) title: String,
    /// The host name of its pages.
    pub(crate) host: String,
    #[serde(skip)]
    folder: PathBuf,
}

impl AppPages {
    /// The folders with the pages of these apps, each at a host name below `domain`.
    ///
    /// # Errors
    /// When a folder has no readable `index.html`.
    pub(crate) fn open(
        domain: &str,
        folders: impl IntoIterator<Item = (AppId, PathBuf)>,
    ) -> anyhow::Result<Self> {
        let mut pages: Vec<AppPage> = Vec::new();
        for (app, folder) in folders {
            let index = folder.join("index.html");
            let html = std::fs::read(&index).with_context(|| {
                format!(
                    "--app-pages {app}={}: cannot read its index.html",
                    folder.display()
                )
            })?;
            let page = AppPage {
                app_id: app.as_str().to_owned(),
                title: title(&String::from_utf8_lossy(&html)).unwrap_or_else(|| app.to_string()),
                host: format!("{}.{domain}", host_label(app.as_str())),
                folder: folder.canonicalize()?,
            };
            if pages.iter().any(|other| other.host == page.host) {
                bail!("--app-pages {app} is given twice");
            }
            pages.push(page);
        }
        let domain = domain.to_owned();
        Ok(Self { domain, pages })
    }

    /// The domain below which they are.
    pub(super) fn domain(&self) -> &str {
        &self.domain
    }

    /// Each app.
    pub(crate) fn apps(&self) -> impl Iterator<Item = &AppPage> {
        self.pages.iter()
    }

    fn of_host(&self, headers: &HeaderMap) -> Option<&AppPage> {
        let host = headers.get(header::HOST)?.to_str().ok()?;
        let name = host.split(':').next()?;
        self.pages
            .iter()
            .find(|page| page.host.eq_ignore_ascii_case(name))
    }

    fn hosts(&self) -> impl Iterator<Item = &str> {
        self.pages.iter().map(|page| page.host.as_str())
    }
}

/// The first label of the host name for an app: its identifier where that can be one, else a number
/// made of it, so that the app keeps what it stored.
fn host_label(app: &str) -> String {
    let is_label = app.len() <= 63
        && app
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !app.starts_with('-')
        && !app.ends_with('-');
    if is_label {
        return app.to_owned();
    }
    // FNV-1a, of which the digits will be the same in every version.
    let hash = app.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("app-{hash:016x}")
}

/// The title of a page, for the launcher.
fn title(html: &str) -> Option<String> {
    let lower = html.to_ascii_lowercase();
    let open = lower.find("<title")?;
    let start = open + lower.get(open..)?.find('>')? + 1;
    let len = lower.get(start..)?.find("</title")?;
    let words: Vec<_> = html.get(start..start + len)?.split_whitespace().collect();
    Some(words.join(" ")).filter(|title| !title.is_empty())
}

/// What browsers get: the apps' pages, and the content-security policies, none of which changes while
/// the portal is open.
#[derive(Debug)]
pub(super) struct Served {
    pages: AppPages,
    /// The origins at which the portal's page can show apps.
    at: Vec<String>,
    portal: String,
    app: String,
}

impl Served {
    pub(super) fn new(pages: AppPages, origins: &Origins) -> Self {
        let mut portal = POLICY.to_owned();
        for host in pages.hosts() {
            let _ = write!(portal, " http://{host}:*");
        }
        if pages.pages.is_empty() {
            portal.push_str(" 'none'");
        }
        let mut app = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; \
            object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors"
            .to_owned();
        let at: Vec<_> = origins.with_frames().map(str::to_owned).collect();
        for origin in &at {
            let _ = write!(app, " {origin}");
        }
        Self {
            pages,
            at,
            portal,
            app,
        }
    }

    /// Where a browser opens the portal.
    pub(super) fn home(&self) -> &str {
        let of_domain = self.at.iter().find(|origin| {
            let host = origin.strip_prefix("http://").unwrap_or_default();
            host.split(':').next() == Some(self.pages.domain())
        });
        of_domain.or(self.at.first()).map_or("", String::as_str)
    }

    /// Whether a request names a host that nobody else can have led here: an address, the machine
    /// itself, or a name that the user gave. Programs may name none.
    fn is_known(&self, headers: &HeaderMap) -> bool {
        let Some(host) = headers.get(header::HOST) else {
            return true;
        };
        let Ok(host) = Authority::try_from(host.as_bytes()) else {
            return false;
        };
        let name = host.host();
        let of_six = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'));
        let is_address = name.parse::<Ipv4Addr>().is_ok()
            || of_six.is_some_and(|name| name.parse::<Ipv6Addr>().is_ok());
        let is_given = |origin: &String| {
            let origin = Uri::try_from(origin);
            origin.is_ok_and(|origin| {
                origin
                    .host()
                    .is_some_and(|host| host.eq_ignore_ascii_case(name))
            })
        };
        is_address || name.eq_ignore_ascii_case(LOCALHOST) || self.at.iter().any(is_given)
    }

    /// What a browser is told that asks for the portal's page elsewhere, where it could neither connect
    /// nor show apps.
    fn elsewhere(&self, headers: &HeaderMap) -> Option<String> {
        let host = headers.get(header::HOST)?.to_str().ok()?;
        let origin = format!("http://{host}");
        if self.at.iter().any(|at| at.eq_ignore_ascii_case(&origin)) {
            return None;
        }
        let home = self.home();
        let mut text = format!("{origin} is not the address of this portal: open {home}/\n");
        if self.pages.domain() == LOCALHOST {
            text += "For a browser on another machine, give the agent a domain that leads to it, with all \
                     of its subdomains: see --portal-domain in `vehicle-agent run --help`.\n";
            let _ = writeln!(
                text,
                "For a tunnel from the browser's machine to the agent, give it --allow-origin {origin}"
            );
        }
        Some(text)
    }
}

/// Pages of apps for the portal of a board.
#[derive(Debug)]
pub(crate) struct PagesAlone(Arc<Served>);

impl PagesAlone {
    /// These apps, which pages of this origin alone may show.
    pub(crate) fn new(pages: AppPages, portal: String) -> Self {
        Self(Arc::new(Served::new(pages, &Origins::only(portal))))
    }

    /// Serves until `stop` completes.
    pub(crate) async fn serve(
        self,
        listener: TcpListener,
        bounds: ConnectionBounds,
        stop: impl Future<Output = ()>,
    ) {
        let text = "no app has this host name; the program has printed those that there are\n";
        let router = Router::new()
            .fallback((StatusCode::NOT_FOUND, text))
            .layer(middleware::from_fn_with_state(self.0, app_hosts));
        connections::serve(listener, router, bounds, None, stop).await;
    }
}

/// Answers requests for an app's host name, whatever their path; the others go on.
pub(super) async fn app_hosts(
    State(served): State<Arc<Served>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(page) = served.pages.of_host(request.headers()) else {
        return next.run(request).await;
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let path = request.uri().path();
    let answer = if path == APP_SCRIPT.path {
        Ok(packed(&APP_SCRIPT, request.headers()))
    } else {
        app_file(&page.folder, path).await
    };
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    let headers = response.headers_mut();
    secure(headers, &served.app);
    headers.insert("cross-origin-resource-policy", SAME_ORIGIN);
    response
}

/// Answers no request for a name that may be of a page of its own, led here after it was loaded: a
/// browser would let that page read the answer.
pub(super) async fn known_hosts(
    State(served): State<Arc<Served>>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    if served.is_known(headers) {
        return next.run(request).await;
    }
    let text = served.elsewhere(headers);
    let text = text.unwrap_or_else(|| "the Host of this request is no host\n".to_owned());
    (StatusCode::MISDIRECTED_REQUEST, text).into_response()
}

/// The portal's own page.
pub(super) async fn portal_page(
    State(served): State<Arc<Served>>,
    method: Method,
    uri: Uri,
    asked: HeaderMap,
) -> Response {
    if uri.path() != PAGE.path {
        let text = "this is the portal of a vehicle agent: there are its page at /, its WebSocket at \
                    /portal, and /status\n";
        return (StatusCode::NOT_FOUND, text).into_response();
    }
    if !matches!(method, Method::GET | Method::HEAD) {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    if let Some(text) = served.elsewhere(&asked) {
        return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    let mut response = packed(&PAGE, &asked);
    let headers = response.headers_mut();
    secure(headers, &served.portal);
    headers.insert("cross-origin-opener-policy", SAME_ORIGIN);
    response
}

/// The apps that have pages, as JSON.
pub(super) async fn apps(State(served): State<Arc<Served>>) -> Response {
    axum::Json(&served.pages.pages).into_response()
}

const SAME_ORIGIN: header::HeaderValue = header::HeaderValue::from_static("same-origin");

fn secure(headers: &mut HeaderMap, policy: &str) {
    if let Ok(policy) = policy.parse() {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in HEADERS {
        headers.insert(name, header::HeaderValue::from_static(value));
    }
}

fn packed(file: &PageFile, asked: &HeaderMap) -> Response {
    let tags = asked.get(header::IF_NONE_MATCH);
    let tags = tags.and_then(|tags| tags.to_str().ok());
    let tag = [(header::ETAG, file.tag)];
    if tags.is_some_and(|tags| file.is_known(tags)) {
        return (StatusCode::NOT_MODIFIED, tag).into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, file.media_type),
        (header::CONTENT_ENCODING, "gzip"),
    ];
    (tag, headers, file.gzip).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifier_that_is_a_host_name_stays_one() {
        assert_eq!(host_label("demo-2"), "demo-2");
        for odd in ["Demo", "a.b", "-a", "ä", "some_id"] {
            let label = host_label(odd);
            assert!(label.starts_with("app-") && label.len() == 20, "{label}");
        }
        assert_ne!(host_label("Demo"), host_label("DEMO"));
    }

    #[test]
    fn title_is_taken_from_the_page() {
        assert_eq!(title("<TITLE>\n My  app\n</Title>"), Some("My app".into()));
        assert_eq!(title("<title></title>"), None);
        assert_eq!(title("<title>"), None);
    }
}
