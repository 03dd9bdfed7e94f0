//! The README's pictures of the console, with a fleet that delivers parcels.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::topic::{Direction, TopicScheme};
use vinbus_transport_std::{BrokerUrl, Client, ClientOptions, Inbox, Qos};

use crate::cli_support::{PARTNER, done, within};
use crate::desk::Desk;

const FLEET: usize = 12;

/// A window in which a message and the form stand whole, one above the other.
const SIZE: (u32, u32) = (1440, 1100);

const STREETS: [&str; 6] = [
    "14 Rue des Carmes",
    "1 Place Alexis-Ricordeau",
    "7 Quai de la Fosse",
    "22 Rue Crébillon",
    "3 Allée Brancas",
    "9 Rue de Strasbourg",
];

/// `cargo xtask screenshots` wants them here.
fn folder() -> Option<PathBuf> {
    std::env::var_os("VINBUS_SCREENSHOTS").map(PathBuf::from)
}

async fn shoot(desk: &mut Desk, name: &str) {
    let png = STANDARD.decode(desk.page.screenshot().await).unwrap();
    assert_eq!(png[1..4], *b"PNG");
    if let Some(folder) = folder() {
        std::fs::write(folder.join(name), png).unwrap();
    }
}

/// A vehicle that answers.
struct Van {
    vin: Vin,
    client: Client,
    inbox: Inbox,
}

impl Van {
    async fn connect(desk: &Desk, certificates: &std::path::Path, vin: Vin) -> Self {
        let url = format!("mqtts://localhost:{}", desk.server.address("mqtts").port());
        let url: BrokerUrl = url.parse().unwrap();
        let own = certificates.join(vin.as_str());
        let options = ClientOptions::new(url, format!("van-{vin}"))
            .ca_file(own.join("ca.pem"))
            .identity_files(own.join("cert.pem"), own.join("key.pem"));
        let (client, inbox) = vinbus_transport_std::connect(options).unwrap();
        for filter in TopicScheme::default().exact_filters(Direction::Downlink, &uid(), &vin) {
            let subscribed = client.subscribe(&filter, Qos::AtMostOnce);
            within("the van is subscribed", subscribed).await.unwrap();
        }
        Self { vin, client, inbox }
    }

    async fn hears(&mut self) {
        within("the van gets it", self.inbox.recv()).await.unwrap();
    }

    async fn says(&self, content: &Value) {
        let topic = TopicScheme::default()
            .publish_topic(Direction::Uplink, &uid(), &self.vin, None)
            .unwrap();
        let payload = json!({ "content": content }).to_string().into();
        let published = self
            .client
            .publish(&topic, payload, Qos::AtLeastOnce, false);
        within("it is acknowledged", published).await.unwrap();
    }
}

fn uid() -> Uid {
    Uid::parse(PARTNER).unwrap()
}

async fn send(desk: &Desk, vin: &Vin, envelope: &Value) {
    let path = format!("/api/v1/vehicles/{vin}/messages");
    let request = desk.server.request(Method::POST, &path);
    let answer = request.body(envelope.to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 202);
}

fn stop(n: usize) -> Value {
    let street = STREETS[n % STREETS.len()];
    json!({
        "idApp": "next-stop",
        "content": { "type": "stop", "id": 4000 + n, "address": format!("{street}, 44000 Nantes"), "parcels": 1 + n % 4 },
    })
}

#[tokio::test]
async fn console_by_day_and_by_night() {
    let mut desk = Desk::new().await;
    desk.page.resize(SIZE).await;
    let certificates = desk.server.dir.join("fleet");
    let out = certificates.to_str().unwrap();
    let count = FLEET.to_string();
    let enroll = [
        "enroll",
        "vehicles",
        "--count",
        &count,
        "--vin-prefix",
        "VF7NANTES",
        "--out",
        out,
    ];
    done(&desk.server.command(&enroll).await);
    let vin = |n| Vin::parse(&format!("VF7NANTES{n:08}")).unwrap();
    let mut vans = Vec::new();
    for n in 0..FLEET {
        vans.push(Van::connect(&desk, &certificates, vin(n)).await);
    }
    // Three of them drive away; for two there is something more.
    for van in vans.split_off(FLEET - 3) {
        van.says(&json!({ "type": "left", "reason": "shift ended" }))
            .await;
        within("the van has gone", van.client.close()).await;
    }
    let seconds = if folder().is_some() { 120 } else { 2 };
    let points = "document.querySelector('.tile path').getAttribute('d').split('L').length";
    let mut drawn = desk.page.eval(points).await.as_f64().unwrap();
    let mut sent = 0;
    for second in 0..seconds {
        let busy = 4.0 + 3.0 * (second as f64 / 17.0).sin() + 2.0 * (second as f64 / 5.0).cos();
        for _ in 0..busy as usize {
            let at = sent % vans.len();
            send(&desk, &vans[at].vin.clone(), &stop(sent)).await;
            vans[at].hears().await;
            let answer = json!({ "type": "answer", "id": 4000 + sent, "answer": "accepted" });
            vans[at].says(&answer).await;
            if sent % 3 == 0 {
                let position = json!({ "type": "position", "lat": 47.2184 + 0.001 * at as f64, "lon": -1.5536, "speed": 20 + 3 * at });
                vans[at].says(&position).await;
            }
            sent += 1;
        }
        // The next second of the charts.
        drawn += 1.0;
        desk.page.until(&format!("{points} >= {drawn}")).await;
    }
    send(&desk, &vin(FLEET - 1), &stop(sent)).await;
    let popup = json!({
        "idApp": "next-stop", "popup": true, "popupBtn": true,
        "popupText": "The delivery at 1 Place Alexis-Ricordeau was moved up to 11:15. Take it next?",
    });
    send(&desk, &vin(3), &popup).await;
    vans[3].hears().await;
    let late = json!({ "idApp": "next-stop", "content": { "type": "route", "via": ["Pont Anne-de-Bretagne", "Boulevard de l'Estuaire"] } });
    send(&desk, &vin(4), &late).await;
    vans[4].hears().await;
    vans[4]
        .says(&json!({ "type": "answer", "id": 4100, "answer": "accepted", "eta": "10:52" }))
        .await;
    desk.shows_message("10:52").await;

    desk.write(
        vin(2).as_str(),
        "next-stop",
        "{\n  \"type\": \"stop\",\n  \"address\": \"5 Rue Voltaire, 44000 Nantes\",\n  \"note\": \"Ring twice\"\n}",
    )
    .await;
    desk.page.press("#message-list .row[data-place='1']").await;
    desk.page
        .until("document.querySelector('#detail pre')")
        .await;
    shoot(&mut desk, "console-light.png").await;
    desk.page.prefers("dark").await;
    shoot(&mut desk, "console-dark.png").await;
}
