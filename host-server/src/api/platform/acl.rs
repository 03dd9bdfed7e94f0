//! `POST /api/platform/acl`: what a token may do on a topic, and by which rule.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use vinbus_protocol::bus::access::Action;

use super::error::PlatformError;
use super::{Api, Asker};
use crate::bus::{Bus, BusClient, TokenError};
use crate::identity::Secret;

/// What is asked: about a token, the asker's own where none is given.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    token: Option<String>,
    topic: String,
}

/// Who the token stands for, and what it may do.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explained {
    #[serde(skip_serializing_if = "Option::is_none")]
    app_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    permissions: Vec<String>,
    publish: Decision,
    subscribe: Decision,
    deliver: Decision,
}

/// One decision, and the rule that made it.
#[derive(Clone, Serialize)]
struct Decision {
    allowed: bool,
    rule: String,
}

/// Explains it to the administrator, and to a client about tokens of its own.
pub(crate) async fn explain(
    asker: Asker,
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Explained>, PlatformError> {
    let (asker, asked): (_, Asked) = asker.with_body(&api, &headers, body).await?;
    let missing = |what: &str| PlatformError::bad_request(format!("{what} missing"));
    if asked.topic.is_empty() {
        return Err(missing("topic"));
    }
    let token = match (&asker, asked.token.filter(|token| !token.is_empty())) {
        (_, Some(token)) => Secret::new(token),
        (Asker::Client { token, .. }, None) => token.clone(),
        (Asker::Admin, None) => return Err(missing("token")),
    };
    let bus = api.bus();
    let found = client_of(bus, token.expose()).await;
    let own = match &asker {
        Asker::Admin => true,
        Asker::Client { client, .. } => {
            matches!(&found, Ok(found) if found.key == client.key)
        }
    };
    match found {
        _ if !own => Err(PlatformError::forbidden()),
        Ok(client) => Ok(Json(explained(bus, &client, &asked.topic))),
        Err(error) => Ok(Json(Explained::refused(&error))),
    }
}

async fn client_of(bus: &Bus, token: &str) -> Result<Arc<BusClient>, TokenError> {
    let identity = bus.tokens.verify(token).await?;
    let client = bus.clients.find(&identity.key);
    client.ok_or(TokenError::UnknownClient)
}

fn explained(bus: &Bus, client: &BusClient, topic: &str) -> Explained {
    let decide = |action| match bus.rules.decide(client, action, topic) {
        Ok(allowance) => Decision {
            allowed: true,
            rule: allowance.to_string(),
        },
        Err(denial) => Decision {
            allowed: false,
            rule: denial.to_string(),
        },
    };
    Explained {
        app_id: Some(client.key.app.to_string()),
        client_id: Some(client.key.client.to_string()),
        permissions: client.permissions.iter().map(str::to_owned).collect(),
        publish: decide(Action::Publish),
        subscribe: decide(Action::Subscribe),
        deliver: decide(Action::Deliver),
    }
}

impl Explained {
    /// Nothing is allowed with a token that does not count.
    fn refused(error: &TokenError) -> Self {
        let decision = Decision {
            allowed: false,
            rule: format!("the token does not count: {error}"),
        };
        Self {
            app_id: None,
            client_id: None,
            permissions: Vec::new(),
            publish: decision.clone(),
            subscribe: decision.clone(),
            deliver: decision,
        }
    }
}
