//! The files of an app's folder, as a browser gets them: none from elsewhere, and pages with the portal's script.

use std::io;
use std::path::{Component, Path, PathBuf};

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use crate::portal_page::APP_SCRIPT;

/// Longest HTML file of an app; it is in memory while a script is put into it.
const HTML_BYTES_MAX: u64 = 1024 * 1024;

/// Of a file of another kind so much is in memory at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// A file below an app's folder.
pub(super) async fn app_file(folder: &Path, path: &str) -> Result<Response, StatusCode> {
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
}
