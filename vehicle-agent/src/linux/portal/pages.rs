//! What browsers get: the portal's own page, and the pages of apps, each from a host name of its own.
//!
//! An app's folder is served at `http://{name}.localhost:{port}/`, which browsers take for the machine
//! they run on. So each app is an origin, and a site, of its own: with its own storage and cookies,
//! and without a way to another app or to the portal's page, but for the messages that both sides
//! agree to. A page of an app has [`APP_SCRIPT`] in front of its own scripts. Below another domain, for
//! browsers elsewhere, all apps are one site: still origins of their own, but for cookies that an app
//! sets for the whole domain.

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use serde::Serialize;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use vinbus_protocol::id::AppId;

use super::connections::{self, ConnectionBounds};
use super::origin::{LOCALHOST, Origins};
use crate::portal_page::{APP_SCRIPT, HEADERS, PAGE, POLICY, PageFile};

/// Longest HTML file of an app; it is in memory while a script is put into it.
const HTML_BYTES_MAX: u64 = 1024 * 1024;

/// Of a file of another kind so much is in memory at once.
const CHUNK_BYTES: usize = 64 * 1024;

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

type Answer = Result<Response, StatusCode>;

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

/// A file below an app's folder.
async fn app_file(folder: &Path, path: &str) -> Answer {
    let relative = decoded(path).ok_or(StatusCode::BAD_REQUEST)?;
    let mut file = folder.join(relative);
    if tokio::fs::metadata(&file)
        .await
        .is_ok_and(|meta| meta.is_dir())
    {
        file.push("index.html");
    }
    let file = tokio::fs::canonicalize(&file).await;
    // A link out of the folder leads nowhere.
    let file = file.ok().filter(|file| file.starts_with(folder));
    let file = file.ok_or(StatusCode::NOT_FOUND)?;
    let meta = tokio::fs::metadata(&file).await;
    if !meta.is_ok_and(|meta| meta.is_file()) {
        return Err(StatusCode::NOT_FOUND);
    }
    let media_type = media_type(&file);
    let file = File::open(file).await.map_err(|_| StatusCode::NOT_FOUND)?;
    let body = if media_type.starts_with("text/html") {
        with_script(file).await?
    } else {
        Body::from_stream(chunks(file))
    };
    Ok(([(header::CONTENT_TYPE, media_type)], body).into_response())
}

/// A page with the portal's script in front of its own.
async fn with_script(file: File) -> Result<Body, StatusCode> {
    let mut html = Vec::new();
    let mut file = file.take(HTML_BYTES_MAX + 1);
    let read = file.read_to_end(&mut html).await;
    match read {
        Err(_) => Err(StatusCode::NOT_FOUND),
        Ok(len) if len as u64 > HTML_BYTES_MAX => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(_) => {
            inject(&mut html);
            Ok(html.into())
        }
    }
}

/// A file piece by piece, as its reader takes it.
fn chunks(file: File) -> impl Stream<Item = io::Result<Bytes>> {
    futures_util::stream::try_unfold(file, async |mut file| {
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
        let len = file.read_buf(&mut chunk).await?;
        Ok((len > 0).then(|| (chunk.freeze(), file)))
    })
}

/// The path below the folder that a request means; `None` if it means one elsewhere.
fn decoded(path: &str) -> Option<PathBuf> {
    let mut bytes = path.bytes();
    let mut plain = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    let plain = String::from_utf8(plain).ok()?;
    let relative = Path::new(plain.trim_start_matches('/'));
    let is_below = relative.components().all(|part| match part {
        Component::Normal(name) => !name.as_encoded_bytes().starts_with(b"."),
        _ => false,
    });
    (is_below && !plain.contains('\0')).then(|| relative.to_owned())
}

/// Puts the portal's script in front of everything else of a page. A browser then takes the page's own
/// `<html>` and `<head>` for those that the script stands in.
fn inject(html: &mut Vec<u8>) {
    let tag = format!(r#"<script src="{}"></script>"#, APP_SCRIPT.path);
    let at = begin(html);
    html.splice(at..at, tag.into_bytes());
}

/// Where the first element of a page may stand: behind its doctype and what may come before that.
fn begin(html: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let rest = html.get(at..).unwrap_or_default();
        let starts = |with: &str| {
            let start = rest.get(..with.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()))
        };
        let end = |of: &str| {
            let mut parts = rest.windows(of.len());
            let found = parts.position(|part| part == of.as_bytes());
            found.map_or(rest.len(), |found| found + of.len())
        };
        at += match rest.first() {
            Some(byte) if byte.is_ascii_whitespace() => 1,
            _ if starts("\u{feff}") => "\u{feff}".len(),
            _ if starts("<!--") => end("-->"),
            _ if starts("<?") => end(">"),
            _ if starts("<!doctype") => return at + end(">"),
            _ => return at,
        };
    }
}

fn media_type(file: &Path) -> &'static str {
    let extension = file.extension().and_then(|extension| extension.to_str());
    match extension.unwrap_or_default() {
        "html" | "htm" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        "mp3" => "audio/mpeg",
        "ogg" => "audio/ogg",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        "xml" => "application/xml",
        _ => "application/octet-stream",
    }
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
    fn paths_lead_below_the_folder_or_nowhere() {
        let plain = |path| decoded(path).map(|path| path.display().to_string());
        assert_eq!(plain("/"), Some(String::new()));
        assert_eq!(plain("/a%20b/c.js"), Some("a b/c.js".into()));
        for bad in [
            "/../x",
            "/%2e%2e/x",
            "/a/%2E%2e",
            "/.git/config",
            "/%00",
            "/%zz",
            "/%e4",
        ] {
            assert_eq!(plain(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn file_of_many_pieces_is_served_whole_and_html_over_its_bound_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let music: Vec<u8> = (0..3 * CHUNK_BYTES + 1).map(|n| n as u8).collect();
        std::fs::write(folder.join("music.ogg"), &music).unwrap();
        let served = app_file(&folder, "/music.ogg").await.unwrap();
        let body = axum::body::to_bytes(served.into_body(), usize::MAX).await;
        assert_eq!(body.unwrap(), music);
        let html = vec![b' '; HTML_BYTES_MAX as usize + 1];
        std::fs::write(folder.join("index.html"), html).unwrap();
        let refused = app_file(&folder, "/").await.unwrap_err();
        assert_eq!(refused, StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[test]
    fn script_stands_in_front_of_everything_and_behind_the_doctype() {
        for (front, rest) in [
            ("<!DOCTYPE html>", "<HEAD lang=x><script>"),
            ("<!doctype html>", "<header></header><script>"),
            ("", "<script>"),
            ("", ""),
            (
                "\u{feff} <!-- <!doctype x><head> -->\n<!doctype html>",
                "<head>",
            ),
            (
                "<?xml version=\"1.0\"?>\n<!doctype html>",
                "<!-- <head> --><head>",
            ),
            ("<!-- never closed", ""),
        ] {
            let mut html = format!("{front}{rest}").into_bytes();
            inject(&mut html);
            let expected = format!(r#"{front}<script src="/.vinbus/webportal.js"></script>{rest}"#);
            assert_eq!(String::from_utf8(html).unwrap(), expected);
        }
    }

    #[test]
    fn title_is_taken_from_the_page() {
        assert_eq!(title("<TITLE>\n My  app\n</Title>"), Some("My app".into()));
        assert_eq!(title("<title></title>"), None);
        assert_eq!(title("<title>"), None);
    }
}
