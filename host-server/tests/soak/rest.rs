//! The server's interface for partners.

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

use crate::app::APP;

#[derive(Clone)]
pub(crate) struct Rest {
    http: Client,
    url: String,
    token: String,
}

impl Rest {
    pub(crate) fn new(url: String, token: String) -> Self {
        let http = Client::builder().timeout(Duration::from_secs(30)).build();
        Self {
            http: http.unwrap(),
            url,
            token,
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/api/v1{path}", self.url);
        self.http.request(method, url).bearer_auth(&self.token)
    }

    /// Sends a message to the app of a vehicle; its id, if it was accepted.
    pub(crate) async fn send(&self, vin: &str, content: &Value) -> Option<String> {
        let path = format!("/vehicles/{vin}/messages?receipts=yes");
        let body = format!(r#"{{"idApp":"{APP}","content":{content}}}"#);
        self.post(&path, body).await
    }

    /// The id of what was accepted.
    pub(crate) async fn post(&self, path: &str, body: String) -> Option<String> {
        let answer = self
            .request(Method::POST, path)
            .body(body)
            .send()
            .await
            .ok()?;
        let accepted: Value = answer.json().await.ok()?;
        Some(accepted["id"].as_str()?.to_owned())
    }

    /// How far a message is.
    pub(crate) async fn status(&self, id: &str) -> String {
        let trace = self.get(&format!("/messages/{id}")).await;
        trace["status"].as_str().unwrap_or("unknown").to_owned()
    }

    /// The vehicles of a fleet message.
    pub(crate) async fn fleet_vehicles(&self, id: &str) -> Vec<Value> {
        let (mut vehicles, mut after) = (Vec::new(), String::new());
        loop {
            let mut page = self
                .get(&format!("/fleet/messages/{id}/vehicles?{after}"))
                .await;
            vehicles.append(page["vehicles"].as_array_mut().unwrap());
            let Some(next) = page["next"].as_str() else {
                return vehicles;
            };
            after = format!("after={next}");
        }
    }

    /// What vehicles' apps sent, receipts left out.
    pub(crate) async fn log(&self, vin: &str) -> Vec<Value> {
        let (mut contents, mut after) = (Vec::new(), "0".to_owned());
        loop {
            let page = format!("/messages?vin={vin}&limit=1000&after={after}");
            let mut page = self.get(&page).await;
            for message in page["messages"].as_array_mut().unwrap() {
                if message["subtopic"].is_null() {
                    contents.push(message["content"].take());
                }
            }
            if page["more"] == false {
                return contents;
            }
            after = page["next"].as_str().unwrap().to_owned();
        }
    }

    /// How many vehicles whose VINs begin like this are online.
    pub(crate) async fn online(&self, vin_prefix: &str) -> usize {
        let (mut online, mut after) = (0, String::new());
        loop {
            let page = self.get(&format!("/vehicles?limit=1000{after}")).await;
            let vehicles = page["vehicles"].as_array().unwrap().iter();
            let is_meant = |vehicle: &&Value| {
                let vin = vehicle["vin"].as_str().unwrap();
                vin.starts_with(vin_prefix) && vehicle["presence"] == "online"
            };
            online += vehicles.filter(is_meant).count();
            let Some(next) = page["next"].as_str() else {
                return online;
            };
            after = format!("&after={next}");
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.request(Method::GET, path).send().await.unwrap();
        answer.json().await.unwrap()
    }
}
