//! Messages written exactly as this crate and `JSON.stringify` write them: nothing to find.
//!
//! Data messages of vinbus are, unless the identifier needs an escape. What is not, valid or not, is
//! left to [`Members`](super::members):
//! `None` says nothing about a text. What is accepted here has no other meaning there, since
//! nothing but the closing brace follows the content.

use super::Content;
use super::members::{VALUE_DEPTH_MAX, only_value};
use crate::id::AppId;
use crate::json::split_plain;

/// `{"idApp":"…","popup":false,"content":…}`, an identifier without escapes.
#[inline]
pub(super) fn data(text: &str) -> Option<(AppId, Content<'_>)> {
    let (app, rest) = split_plain(text.strip_prefix(r#"{"idApp":""#)?);
    let content = last_content(rest.strip_prefix(r#"","popup":false,"content":"#)?)?;
    Some((AppId::parse(app).ok()?, content))
}

/// `{"content":…}`.
#[inline]
pub(super) fn content_alone(text: &str) -> Option<Content<'_>> {
    last_content(text.strip_prefix(r#"{"content":"#)?)
}

/// A value and the brace that closes the envelope.
#[inline]
fn last_content(rest: &str) -> Option<Content<'_>> {
    let value = only_value(rest.strip_suffix('}')?, VALUE_DEPTH_MAX).ok()?;
    Some(Content::from_value(value))
}
