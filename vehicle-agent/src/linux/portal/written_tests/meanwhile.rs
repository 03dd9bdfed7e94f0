//! What comes while an app's socket ends, or while it has yet to read others.

use super::*;
use crate::linux::saved::Saved;

/// Two messages are written, and the agent has not heard of it.
fn write_two(car: &mut Car) {
    car.receive(1..=2, 0);
    for _ in 0..2 {
        assert!(car.outbox.front().now_or_never().is_some());
        car.outbox.written();
    }
}

/// The channel of news was full when the socket ended, so that the agent hears of both only then. A third message
/// comes when it has taken note of the first.
fn end(car: &mut Car) {
    let peer = Peer::App {
        slot: SLOT,
        background: false,
        confirms: false,
    };
    let (socket, news) = (car.socket, News::Gone);
    let gone = FromSocket { socket, peer, news };
    car.news.try_send(gone).unwrap();
    let request = car.apps.next().now_or_never().unwrap();
    let todo = car.desk.handle_request(car.now_ms, &request);
    car.desk.finish(car.now_ms, todo, &mut car.apps);
    car.receive([3], 0);
}

#[test]
fn message_that_comes_while_a_socket_ends_waits() {
    let (_folder, mut car) = car();
    write_two(&mut car);
    end(&mut car);
    let mut told = all(1..=2, "taken");
    told.insert(3, "held");
    assert_eq!((car.told(), car.pending()), (told, vec![3]));
}

#[test]
fn message_that_comes_while_another_socket_takes_over_waits_for_that() {
    let (_folder, mut car) = car();
    write_two(&mut car);
    let (old, next) = (car.socket, Arc::<Outbox>::default());
    car.socket = old + 1;
    car.says(News::Opened(Arc::clone(&next)));
    car.socket = old;
    end(&mut car);
    let mut told = all(1..=2, "taken");
    told.insert(3, "held");
    assert_eq!(car.told(), told);
    (car.socket, car.outbox) = (old + 1, next);
    car.says(News::Frame(LOADED.into()));
    car.says(News::Frame(ASK.into()));
    assert_eq!(car.read(usize::MAX), [3]);
    assert_eq!(car.told(), all([3], "taken"));
}

#[test]
fn message_that_the_outcome_of_a_popup_pushed_out_is_evicted() {
    let (_folder, mut car) = car();
    car.says(News::Frame(HIDE.into()));
    car.receive(1..=10, 0);
    assert_eq!(car.told(), all(1..=10, "held"));
    let topic = format!("psa/OVIPPartners-Dev/to/uid/{UID}/opa/{VIN}/");
    let popup = json!({ "idApp": APP, "popup": true, "popupBtn": true, "popupText": "Go?" });
    let (desk, apps) = (&mut car.desk, &mut car.apps);
    desk.handle_received(car.now_ms, &topic, popup.to_string().as_bytes(), apps);
    car.turn();
    let ok = r#"{"type":"WebPortal.okBtnPopupRequestClicked"}"#;
    car.says(News::Frame(ok.into()));
    assert_eq!(car.told(), all([1], "evicted"));
    car.says(News::Frame(ASK.into()));
    assert_eq!(car.read(usize::MAX), (2..=10).collect::<Vec<_>>());
    assert_eq!(car.told(), all(2..=10, "taken"));
}

#[test]
fn message_of_an_earlier_life_that_follows_others_is_handed_out_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("waiting.jsonl");
    let head = json!({ "vin": VIN });
    let waiting = json!({ "app": APP, "message": r#"{"content":{"n":77}}"# });
    std::fs::write(&file, format!("{head}\n{waiting}\n")).unwrap();
    let saved = Saved::open(folder.path(), Vin::parse(VIN).unwrap()).unwrap();
    let mut car = Car::start(&folder);
    let saved: &'static Saved = Box::leak(Box::new(saved));
    let taken_up = saved.restore(&mut car.desk, &mut car.apps).unwrap();
    car.apps.settle_with(taken_up);
    car.app();
    car.read(usize::MAX);
    car.receive(1..=22, 0);
    car.says(News::Frame(ASK.into()));
    assert_eq!(
        car.read(usize::MAX),
        (1..=22).chain([77]).collect::<Vec<_>>()
    );
    assert!(!file.exists(), "another life would hand it out again");
}
