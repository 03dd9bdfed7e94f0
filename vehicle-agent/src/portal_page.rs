//! The portal's own page: HTML, style and modules, compressed, as they stand in `portal/`.
//!
//! Nothing in it comes from anywhere else, and its content-security policy allows nothing else.

/// One file of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageFile {
    /// Its path.
    pub(crate) path: &'static str,
    /// Its media type.
    pub(crate) media_type: &'static str,
    /// Its bytes, as gzip.
    pub(crate) gzip: &'static [u8],
}

macro_rules! file {
    ($path:literal, $name:literal, $media_type:literal) => {
        PageFile {
            path: $path,
            media_type: $media_type,
            gzip: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz")),
        }
    };
}

const FILES: [PageFile; 8] = [
    file!("/", "index.html", "text/html; charset=utf-8"),
    file!("/portal.css", "portal.css", "text/css; charset=utf-8"),
    file!("/portal.js", "portal.js", "text/javascript; charset=utf-8"),
    file!("/app.js", "app.js", "text/javascript; charset=utf-8"),
    file!("/line.js", "line.js", "text/javascript; charset=utf-8"),
    file!(
        "/mailbox.js",
        "mailbox.js",
        "text/javascript; charset=utf-8"
    ),
    file!(
        "/outgoing.js",
        "outgoing.js",
        "text/javascript; charset=utf-8"
    ),
    file!(
        "/requests.js",
        "requests.js",
        "text/javascript; charset=utf-8"
    ),
];

/// The script that goes in front of an app's own.
pub(crate) const APP_SCRIPT: PageFile = file!(
    "/.vinbus/webportal.js",
    "webportal.js",
    "text/javascript; charset=utf-8"
);

/// The file at a path.
pub(crate) fn file(path: &str) -> Option<PageFile> {
    FILES.into_iter().find(|file| file.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_packed_and_all_of_them_are_small() {
        let files = FILES.iter().chain([&APP_SCRIPT]);
        let sizes = files.map(|file| {
            assert_eq!(file.gzip[..2], [0x1f, 0x8b], "{}", file.path);
            file.gzip.len()
        });
        let bytes: usize = sizes.sum();
        assert!(bytes < 24 * 1024, "the page has {bytes} bytes");
    }
}
