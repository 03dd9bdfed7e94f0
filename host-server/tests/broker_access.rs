//! Who gets in and what they may do, over real sockets.

mod broker_support;

use broker_support::raw::{BAD_LOGIN, Client, Connect, NOT_AUTHORIZED};
use broker_support::{
    Fixture, OTHER_UID, OTHER_VIN, Recorder, UID, VIN, downlink, tls_settings, uplink,
};
use std::sync::Arc;
use vinbus_host_server::broker::embedded::{EmbeddedBroker, Settings, StartError};
use vinbus_host_server::identity::{Existing, Identities};
use vinbus_protocol::id::{Uid, Vin};

const SERVER_BUSY: u8 = 0x89;
const CLIENT_ID_NOT_VALID: u8 = 0x85;

const ENVELOPE: &[u8] = br#"{"idApp":"app","content":1}"#;

async fn start_error(mqtt: &str) -> StartError {
    let folder = tempfile::tempdir().unwrap();
    let identities = Identities::open(folder.path()).unwrap();
    let settings = Settings {
        mqtt: Some(mqtt.parse().unwrap()),
        ..Settings::default()
    };
    let started = EmbeddedBroker::start(
        settings,
        identities.credentials(),
        Arc::<Recorder>::default(),
    );
    match started.await {
        Ok(_) => panic!("started"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn plain_port_beyond_loopback_is_refused_before_anything_listens() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:1883"] {
        let error = start_error(address).await;
        assert!(matches!(error, StartError::NotLoopback { .. }), "{error}");
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
    }
}

#[tokio::test]
async fn port_in_use_is_named() {
    let it = Fixture::start().await;
    let address = it.broker.mqtt_address().unwrap().to_string();
    let error = start_error(&address).await;
    assert!(matches!(error, StartError::Bind { .. }));
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test]
async fn tls_port_wants_a_client_certificate() {
    let it = Fixture::start().await;
    let ca = it.files_of("data").join("ca.pem");
    let address = it.broker.mqtts_address().unwrap();
    if let Ok(mut client) = Client::tls(address, &ca, None).await {
        client.until_closed().await;
    }
    it.until_counts("the handshake to fail", |counts| counts.tls_failed == 1)
        .await;
}

#[tokio::test]
async fn certificate_of_another_authority_is_refused() {
    let it = Fixture::start().await;
    let foreign = Identities::open(&it.files_of("foreign")).unwrap();
    let out = it.files_of("foreign-car");
    foreign
        .enroll_vehicle(&Vin::parse(VIN).unwrap(), &out, Existing::Refuse)
        .unwrap();
    if let Ok(mut client) = it.tls("foreign-car").await {
        client.until_closed().await;
    }
    it.until_counts("the handshake to fail", |counts| counts.tls_failed == 1)
        .await;
}

#[tokio::test]
async fn certificate_of_the_server_is_none_for_clients() {
    let it = Fixture::start().await;
    if let Ok(mut client) = it.tls("data/server").await {
        client.until_closed().await;
    }
    it.until_counts("the handshake to fail", |counts| counts.tls_failed == 1)
        .await;
}

#[tokio::test]
async fn vehicle_needs_its_certificate_only_and_no_other_user_name() {
    let it = Fixture::start().await;
    let check = async |connect: Connect, code| {
        let mut client = it.tls(VIN).await.unwrap();
        assert_eq!(client.connect(&connect).await, code);
    };
    check(Connect::new("one"), 0).await;
    check(Connect::new("two").login(VIN, "whatever"), 0).await;
    check(Connect::new("three").login(OTHER_VIN, "x"), BAD_LOGIN).await;
    check(Connect::new("four").v311().login(OTHER_VIN, "x"), 4).await;
}

#[tokio::test]
async fn partner_needs_its_certificate_its_user_name_and_its_password() {
    let it = Fixture::start().await;
    let password = it.password_of(UID);
    let check = async |connect: Connect, code| {
        let mut client = it.tls(UID).await.unwrap();
        assert_eq!(client.connect(&connect).await, code);
    };
    let client = || Connect::new("partner");
    check(client().login(UID, &password), 0).await;
    check(client(), BAD_LOGIN).await;
    check(client().login(UID, "wrong"), BAD_LOGIN).await;
    let other = it.password_of(OTHER_UID);
    check(client().login(OTHER_UID, &other), BAD_LOGIN).await;
    check(client().login("admin", &it.admin_token()), BAD_LOGIN).await;
}

#[tokio::test]
async fn plain_port_wants_user_name_and_password() {
    let it = Fixture::start().await;
    let check = async |connect: Connect, code| {
        let mut client = it.plain().await;
        assert_eq!(client.connect(&connect).await, code);
        if code != 0 {
            client.until_closed().await;
        }
    };
    let client = || Connect::new("partner");
    check(client().login(UID, &it.password_of(UID)), 0).await;
    check(client().login("admin", &it.admin_token()), 0).await;
    check(client(), BAD_LOGIN).await;
    check(client().login(UID, "wrong"), BAD_LOGIN).await;
    check(client().v311().login(UID, "wrong"), 4).await;
    check(client().login("nobody", "x"), BAD_LOGIN).await;
    check(client().login("admin", "vba.wrong"), BAD_LOGIN).await;
    check(client().login(VIN, ""), BAD_LOGIN).await;
    assert_eq!(it.counts().logins_refused, 6);
}

#[tokio::test]
async fn partner_enrolled_while_the_broker_runs_gets_in() {
    let it = Fixture::start().await;
    it.identities
        .enroll_partner(
            &Uid::parse("late").unwrap(),
            &it.files_of("late"),
            Existing::Refuse,
        )
        .unwrap();
    it.partner("late", "late").await;
}

#[tokio::test]
async fn vehicle_speaks_for_itself_only() {
    let it = Fixture::start().await;
    let mut car = it.vehicle(VIN).await;
    car.publish(&uplink(UID, OTHER_VIN), b"{}", 1, false).await;
    let answer = car.expect(4).await;
    assert_eq!(answer.body[2], NOT_AUTHORIZED);
    car.publish(&downlink(UID, VIN), ENVELOPE, 0, false).await;
    car.publish(&uplink(UID, VIN), b"{\"content\":1}", 1, false)
        .await;
    assert_eq!(car.expect(4).await.body.get(2).copied().unwrap_or(0), 0);
    let arrivals = it.events.recorded().arrivals;
    assert_eq!(arrivals.len(), 1);
    assert_eq!(arrivals[0].topic, uplink(UID, VIN));
    assert_eq!(it.counts().publishes_denied, 2);
}

#[tokio::test]
async fn denied_publish_of_an_old_client_is_dropped_and_its_connection_lives() {
    let it = Fixture::start().await;
    let mut car = it.tls(VIN).await.unwrap();
    car.enter(&Connect::new(VIN).v311()).await;
    for qos in [1, 2] {
        let id = car.publish("elsewhere", b"x", qos, false).await;
        let answer = car.packet().await.unwrap();
        assert_eq!(answer.body, id.to_be_bytes(), "MQTT 3.1.1 knows no reason");
        if qos == 2 {
            car.release(id).await;
            car.expect(7).await;
        }
    }
    assert_eq!(it.counts().publishes_denied, 2);
    assert!(it.events.recorded().arrivals.is_empty());
}

#[tokio::test]
async fn partner_hears_its_own_uid_only() {
    let it = Fixture::start().await;
    let mut partner = it.partner(UID, "partner").await;
    let filter = |uid: &str| format!("psa/OVIPPartners-Dev/from/uid/{uid}/opa/#");
    assert_eq!(partner.subscribe(&filter(UID), 0).await, 0);
    for foreign in [OTHER_UID, "+"] {
        let code = partner.subscribe(&filter(foreign), 0).await;
        assert_eq!(code, NOT_AUTHORIZED);
    }
    assert_eq!(partner.subscribe("#", 0).await, NOT_AUTHORIZED);
    assert_eq!(it.counts().subscriptions_denied, 3);

    let mut old = it.plain().await;
    let connect = Connect::new("old").v311().login(UID, &it.password_of(UID));
    old.enter(&connect).await;
    assert_eq!(old.subscribe(&filter(OTHER_UID), 0).await, 0x80);

    let mut car = it.vehicle(VIN).await;
    car.publish(&uplink(OTHER_UID, VIN), b"{\"content\":1}", 0, false)
        .await;
    car.publish(&uplink(UID, VIN), b"{\"content\":2}", 0, false)
        .await;
    let heard = partner.packet().await.unwrap();
    assert_eq!(heard.publish().0, uplink(UID, VIN));
}

#[tokio::test]
async fn vehicle_hears_its_own_vin_only() {
    let it = Fixture::start().await;
    let mut car = it.vehicle(VIN).await;
    assert_eq!(car.subscribe(&downlink(UID, VIN), 2).await, 2);
    let foreign = downlink(UID, OTHER_VIN);
    assert_eq!(car.subscribe(&foreign, 0).await, NOT_AUTHORIZED);
    let all = "psa/OVIPPartners-Dev/to/uid/acme/opa/#";
    assert_eq!(car.subscribe(all, 0).await, NOT_AUTHORIZED);
}

#[tokio::test]
async fn will_on_a_foreign_topic_keeps_its_client_out() {
    let it = Fixture::start().await;
    let check = async |topic: &str, code| {
        let mut car = it.tls(VIN).await.unwrap();
        let connect = Connect::new(VIN).will(topic, "{}", true);
        assert_eq!(car.connect(&connect).await, code, "{topic}");
    };
    check(&uplink(UID, OTHER_VIN), NOT_AUTHORIZED).await;
    check(&downlink(UID, VIN), NOT_AUTHORIZED).await;
    check("elsewhere", NOT_AUTHORIZED).await;
    check(&uplink(UID, VIN), 0).await;
    assert_eq!(it.counts().wills_refused, 3);
}

#[tokio::test]
async fn retained_publish_on_a_foreign_topic_is_neither_delivered_nor_kept() {
    let it = Fixture::start().await;
    let mut car = it.vehicle(VIN).await;
    for topic in ["elsewhere", &uplink(UID, OTHER_VIN)] {
        car.publish(topic, b"{}", 0, true).await;
    }
    car.ping().await;
    let mut admin = it.admin("admin").await;
    admin.subscribe("psa/OVIPPartners-Dev/#", 0).await;
    admin.ping().await;
    assert_eq!(it.counts().publishes_denied, 2);
}

#[tokio::test]
async fn client_identifier_of_another_identity_is_refused_and_the_first_stays() {
    let it = Fixture::start().await;
    let mut partner = it.partner(UID, "same").await;
    let mut other = it.plain().await;
    let connect = Connect::new("same").login(OTHER_UID, &it.password_of(OTHER_UID));
    assert_eq!(other.connect(&connect).await, CLIENT_ID_NOT_VALID);
    partner.ping().await;
    partner.leave().await;
    it.until_counts("the first to be gone", |counts| counts.connections == 0)
        .await;
    let mut other = it.plain().await;
    other.enter(&connect).await;
}

#[tokio::test]
async fn client_identifier_that_is_a_vin_is_for_its_vehicle_only() {
    let it = Fixture::start().await;
    let mut partner = it.plain().await;
    let connect = Connect::new(VIN).login(UID, &it.password_of(UID));
    assert_eq!(partner.connect(&connect).await, CLIENT_ID_NOT_VALID);
    let mut other_car = it.tls(OTHER_VIN).await.unwrap();
    let connect = Connect::new(VIN);
    assert_eq!(other_car.connect(&connect).await, CLIENT_ID_NOT_VALID);
    assert_eq!(it.counts().client_ids_taken, 2);
    it.vehicle(VIN).await.ping().await;
}

#[tokio::test]
async fn filters_with_wildcards_are_bounded_and_given_back() {
    let limits = vinbus_host_server::broker::embedded::Limits {
        wildcard_filters_max: 2,
        ..Default::default()
    };
    let it = Fixture::with_limits(limits).await;
    let filter = |sub: &str| format!("{}{sub}/#", uplink(UID, VIN));
    let mut partner = it.partner(UID, "partner").await;
    assert_eq!(partner.subscribe(&filter("a"), 0).await, 0);
    assert_eq!(partner.subscribe(&filter("b"), 0).await, 0);
    assert_eq!(partner.subscribe(&filter("b"), 0).await, 0, "again");
    assert_eq!(partner.subscribe(&filter("c"), 0).await, NOT_AUTHORIZED);
    assert_eq!(partner.subscribe(&uplink(UID, VIN), 0).await, 0, "exact");
    assert_eq!(it.counts().subscriptions_over_limit, 1);
    partner.leave().await;
    it.until_counts("the filters to be gone", |counts| {
        counts.wildcard_filters == 0
    })
    .await;
}

#[tokio::test]
async fn partner_cannot_use_up_the_wildcards_or_shares_of_others() {
    let limits = vinbus_host_server::broker::embedded::Limits {
        wildcard_filters_per_identity_max: 2,
        ..Default::default()
    };
    let it = Fixture::with_limits(limits).await;
    let mut one = it.partner(UID, "one").await;
    let mut two = it.partner(UID, "two").await;
    let filter = |uid: &str, sub: &str| format!("{}{sub}/#", uplink(uid, VIN));
    assert_eq!(one.subscribe(&filter(UID, "a"), 0).await, 0);
    assert_eq!(two.subscribe(&filter(UID, "b"), 0).await, 0);
    assert_eq!(two.subscribe(&filter(UID, "c"), 0).await, NOT_AUTHORIZED);
    let shared = |name: usize, uid: &str| format!("$share/{name}/{}", uplink(uid, VIN));
    for name in 0..200 {
        assert_eq!(one.subscribe(&shared(name, UID), 0).await, 0);
    }
    for name in 200..256 {
        assert_eq!(two.subscribe(&shared(name, UID), 0).await, 0);
    }
    assert_eq!(two.subscribe(&shared(256, UID), 0).await, NOT_AUTHORIZED);
    assert_eq!(two.subscribe(&shared(0, UID), 0).await, 0, "known");
    let mut other = it.partner(OTHER_UID, "other").await;
    assert_eq!(other.subscribe(&filter(OTHER_UID, "a"), 0).await, 0);
    assert_eq!(other.subscribe(&shared(0, OTHER_UID), 0).await, 0);
}

#[tokio::test]
async fn flood_of_wrong_passwords_keeps_no_other_partner_out() {
    let it = Fixture::start().await;
    let known = it.partner(UID, "known").await;
    known.leave().await;
    let wrong = Connect::new("flood").login(UID, "wrong");
    loop {
        match it.plain().await.connect(&wrong).await {
            BAD_LOGIN => {}
            SERVER_BUSY => break,
            other => panic!("{other:#x}"),
        }
    }
    assert!(it.counts().logins_refused >= 5);
    assert!(it.counts().logins_paused > 0);
    // From the same address: another partner, and the same one, whose password is remembered.
    it.partner(OTHER_UID, "other").await.ping().await;
    it.partner(UID, "known").await.ping().await;
}

#[tokio::test]
async fn tls_settings_that_cannot_work_are_named() {
    let it = Fixture::start().await;
    let mut tls = tls_settings(&it.identities);
    tls.client_ca = "no certificate".to_owned();
    let settings = Settings {
        mqtts: Some((([127, 0, 0, 1], 0).into(), tls)),
        ..Settings::default()
    };
    let started = EmbeddedBroker::start(
        settings,
        it.identities.credentials(),
        Arc::<Recorder>::default(),
    );
    let Err(error) = started.await else {
        panic!("started");
    };
    assert!(error.to_string().contains("certificate"), "{error}");
}
