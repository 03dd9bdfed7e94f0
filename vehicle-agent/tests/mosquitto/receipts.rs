//! What goes over the wire of messages with receipts shows in `/status`.

use serde_json::{Value, json};

use crate::world::World;

/// The epoch of the partner's host.
const HOST: u32 = 3;

/// Publishes a message of delivery's own.
async fn say(world: &World, members: Value) {
    world.send("vinbus", &json!({ "vinbus": members })).await;
}

/// Greets the vehicle, and shows that its epoch is known, which is returned.
async fn greet(world: &mut World) -> Value {
    say(world, json!({ "e": HOST, "v": 1 })).await;
    let mut answer = world.own("vinbus/delivery").await;
    let car = answer["vinbus"]["e"].take();
    say(world, json!({ "e": HOST, "x": car })).await;
    car
}

#[tokio::test]
async fn what_a_partner_sends_of_delivery_and_is_not_used_is_counted_by_its_reason() {
    let mut world = World::new().await;
    let vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    let car = &greet(&mut world).await;
    let say = async |members| say(&world, members).await;
    let send = async |host: u32, number: u32| {
        let content = json!({ "vinbus": [host, car, number, 0], "n": number });
        world.send("demo", &content).await;
    };
    // Of two messages, neither of which was sent, and of a batch that was not told.
    say(json!({ "e": HOST, "x": car, "k": 1, "r": [5, 7, 1, 5, 9, 1] })).await;
    say(json!({ "e": HOST, "x": car, "a": 1_000_000 })).await;
    // Of a life of the host that is over.
    say(json!({ "e": HOST - 1, "x": car })).await;
    send(HOST - 1, 1).await;
    send(HOST - 1, 2).await;
    // The first of them is taken, and one comes again three times.
    for number in [200, 200, 200, 200, 1, 2, 3, 4] {
        send(HOST, number).await;
    }
    // One more than are accounted for, as nobody acknowledges what became of them.
    for number in 201..=264 {
        send(HOST, number).await;
    }
    vehicle.status_reaches("/delivery/busy", 1).await;
    let expected = json!({
        "sent": 0,
        "sentAgain": 0,
        "forgedReceipt": 2,
        "cameAgain": 3,
        "stale": 4,
        "busy": 1,
        "forgedAcknowledgement": 1,
        "misdirected": 3,
    });
    assert_eq!(vehicle.status().await["delivery"], expected);
}

#[tokio::test]
async fn message_of_an_app_that_nobody_answers_is_counted_once_and_then_as_sent_again() {
    let mut world = World::new().await;
    let vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    let mut app = vehicle.app("demo").await;
    greet(&mut world).await;
    let kind = "WebPortal.onSendNotificationRequest";
    app.send(json!({ "type": kind, "id": 1, "receipts": true, "value": 1 }))
        .await;
    vehicle.status_reaches("/delivery/sentAgain", 1).await;
    assert_eq!(vehicle.status().await["delivery"]["sent"], json!(1));
}
