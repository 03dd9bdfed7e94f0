//! `GET /messages/sent`: what was sent to vehicles lately, in brief, and what became of it.

use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::Api;
use super::auth::Caller;
use super::parameters::{self, Query, query};
use super::problem::Problem;
use super::trace::TracedStep;
use crate::hub::MessageHead;
use crate::model::{MessageId, Outline, Step};
use crate::uplink_json::timestamp;

/// Messages of a page where the query says nothing.
const LIMIT_DEFAULT: usize = 100;

/// Messages of a page at most.
const LIMIT_MAX: usize = 1000;

query!(SentQuery { before, uid, limit });

#[derive(Serialize)]
pub(crate) struct SentPage {
    messages: Vec<Sent>,
    next: Option<String>,
}

/// A message for a vehicle in brief.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sent {
    id: String,
    uid: String,
    vin: String,
    app: String,
    popup: bool,
    bytes: usize,
    excerpt: Box<str>,
    expires_at: String,
    status: &'static str,
    steps: Vec<TracedStep>,
}

impl From<Outline> for Sent {
    fn from(outline: Outline) -> Self {
        let status = outline
            .steps
            .last()
            .map_or(Step::Accepted, |&(step, _)| step);
        Self {
            id: outline.id.0,
            uid: outline.uid.to_string(),
            vin: outline.vin.to_string(),
            app: outline.app.to_string(),
            popup: outline.brief.is_popup,
            bytes: outline.brief.bytes,
            excerpt: outline.brief.excerpt,
            expires_at: timestamp(outline.expires_at),
            status: status.name(),
            steps: outline.steps.into_iter().map(TracedStep::from).collect(),
        }
    }
}

impl Sent {
    /// A message that was accepted just now.
    pub(super) fn accepted(id: MessageId, message: MessageHead, at: SystemTime) -> Self {
        let status = Step::Accepted;
        Self {
            id: id.0,
            uid: message.uid.to_string(),
            vin: message.vin.to_string(),
            app: message.app.to_string(),
            popup: message.brief.is_popup,
            bytes: message.brief.bytes,
            excerpt: message.brief.excerpt,
            expires_at: timestamp(message.expires_at),
            status: status.name(),
            steps: vec![(status, at).into()],
        }
    }
}

/// Answers one page, newest first, and where the next one begins.
pub(crate) async fn page(
    caller: Caller,
    State(api): State<Api>,
    Query(query): Query<SentQuery>,
) -> Result<Json<SentPage>, Problem> {
    let uid = caller.reader(parameters::uid(query.uid.as_deref())?)?;
    let before = parameters::before(query.before.as_deref())?;
    let limit = parameters::limit(query.limit.as_deref(), LIMIT_DEFAULT, LIMIT_MAX)?;
    let page = api.hub().sent_before(before, uid, limit).await?;
    Ok(Json(SentPage {
        messages: page.messages.into_iter().map(Sent::from).collect(),
        next: page.next.map(|sequence| sequence.to_string()),
    }))
}
