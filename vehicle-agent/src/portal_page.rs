//! The portal's own page: one document with its style and script, compressed, as `build.rs` makes it
//! of `portal/`.
//!
//! Nothing in it comes from anywhere else, and its content-security policy allows nothing else.

/// One file for browsers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageFile {
    /// Its path.
    pub(crate) path: &'static str,
    /// Its media type.
    pub(crate) media_type: &'static str,
    /// Its version, as a header names it (RFC 9110, 8.8.3).
    pub(crate) tag: &'static str,
    /// Its bytes, as gzip.
    pub(crate) gzip: &'static [u8],
}

impl PageFile {
    /// Whether this `If-None-Match` says that the browser has it.
    pub(crate) fn is_known(&self, tags: &str) -> bool {
        let mut tags = tags.split(',').map(str::trim_ascii);
        tags.any(|tag| tag.strip_prefix("W/").unwrap_or(tag) == self.tag)
    }
}

macro_rules! file {
    ($path:literal, $name:literal, $version:literal, $media_type:literal) => {
        PageFile {
            path: $path,
            media_type: $media_type,
            tag: concat!("\"", env!($version), "\""),
            gzip: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz")),
        }
    };
}

/// The page.
pub(crate) const PAGE: PageFile =
    file!("/", "index.html", "PORTAL_PAGE", "text/html; charset=utf-8");

/// The script that goes in front of an app's own.
pub(crate) const APP_SCRIPT: PageFile = file!(
    "/.vinbus/webportal.js",
    "webportal.js",
    "PORTAL_APP_SCRIPT",
    "text/javascript; charset=utf-8"
);

/// The page's content-security policy, behind which the origins of apps follow, or `'none'`.
pub(crate) const POLICY: &str = concat!(
    "default-src 'none'; script-src 'sha256-",
    env!("PORTAL_SCRIPT"),
    "'; style-src 'sha256-",
    env!("PORTAL_STYLE"),
    "'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; ",
    "frame-ancestors 'none'; require-trusted-types-for 'script'; frame-src",
);

/// What every answer to a browser has besides.
pub(crate) const HEADERS: [(&str, &str); 3] = [
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-cache"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_packed_and_all_of_them_are_small() {
        let sizes = [PAGE, APP_SCRIPT].map(|file| {
            assert_eq!(file.gzip[..2], [0x1f, 0x8b], "{}", file.path);
            file.gzip.len()
        });
        let bytes: usize = sizes.iter().sum();
        assert!(bytes < 12 * 1024, "the page has {bytes} bytes");
    }

    #[test]
    fn version_that_a_browser_has_is_known_among_others() {
        assert!(PAGE.is_known(PAGE.tag));
        let several = [r#""x", W/"#, PAGE.tag].concat();
        assert!(PAGE.is_known(&several));
        assert!(!PAGE.is_known(APP_SCRIPT.tag) && !PAGE.is_known(""));
    }
}
