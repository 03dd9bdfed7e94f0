//! What becomes of messages with receipts in an order of events that only this module can bring about.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use vinbus_protocol::delivery::{self, Epoch, Offer, Received, Snapshot};
use vinbus_protocol::envelope::Content;
use vinbus_protocol::id::{AppId, Uid, Vin};

use super::admission::Admission;
use super::channel::Channel;
use super::parts::LongAdmission;
use crate::hub::lanes::LaneId;
use crate::hub::{Hub, Settings};
use crate::metrics::Metrics;
use crate::model::{Downlink, Key, NewDownlink, Presence, Receipts, Step};
use crate::store::Store;
use crate::store::channels::{
    Changed, ChannelChange, ChannelStore as _, KeptChannel, LeftOut, Numbered,
};
use crate::store::lock::DataDir;
use crate::store::sqlite::{SqliteStore, StoreSettings};

/// A hub without a broker, so that nothing runs but what a test calls.
struct Still {
    hub: Hub,
    store: Arc<SqliteStore>,
    lane: LaneId,
    dir: tempfile::TempDir,
}

impl Still {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let metrics = Metrics::new();
        let locked = DataDir::lock(dir.path()).unwrap();
        let store = SqliteStore::open(locked, StoreSettings::default(), &metrics).unwrap();
        let store = Arc::new(store);
        let kept: Arc<dyn Store> = Arc::<SqliteStore>::clone(&store);
        Self {
            hub: Hub::new(kept, Settings::default(), &metrics).unwrap(),
            store,
            lane: LaneId {
                vin: Vin::parse("TESTV000000000001").unwrap(),
                uid: Uid::parse("partner").unwrap(),
            },
            dir,
        }
    }

    /// The vehicle offers delivery, and that is on disk.
    async fn announce(&self, long_bytes_max: u32) {
        self.meet(long_bytes_max).await;
        self.reached(Channel::is_begun).await;
    }

    /// Waits until a check of the channel holds.
    async fn reached(&self, check: impl Fn(&Channel) -> bool) {
        let dispatch = &self.hub.inner.dispatch;
        let reached = async {
            let holds = |_: &_, channel: &mut Channel, _, _| check(channel);
            while dispatch.with_driven(&self.lane, holds).await != Ok(Some(true)) {
                tokio::task::yield_now().await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(30), reached).await;
        reached.expect("the channel's task notes it");
    }

    /// The vehicle offers delivery, and has answered our greeting.
    async fn meet(&self, long_bytes_max: u32) {
        let dispatch = &self.hub.inner.dispatch;
        let epoch = Epoch::new(7).unwrap();
        let offer = Offer {
            epoch,
            long_bytes_max,
        };
        dispatch.announced(self.lane.clone(), Some(offer)).await;
        let session = |_: &_, channel: &mut Channel, _, _| channel.session();
        let session = dispatch.with_driven(&self.lane, session).await;
        let host = session.unwrap().unwrap().0.number();
        let text = format!(r#"{{"vinbus":{{"e":7,"x":{host},"l":{long_bytes_max}}}}}"#);
        let Received::Control(answer) = delivery::read(Content::parse(text.as_bytes()).unwrap())
        else {
            panic!("it is an answer");
        };
        let heard = dispatch.control_arrived(&self.lane, &answer).await;
        heard.unwrap();
    }

    async fn submit(&self) -> Downlink {
        self.submit_keyed(None).await
    }

    async fn submit_keyed(&self, key: Option<&str>) -> Downlink {
        self.submit_content(r#"{"n":1}"#, key).await
    }

    async fn submit_content(&self, content: &str, key: Option<&str>) -> Downlink {
        let envelope = format!(r#"{{"idApp":"app","popup":false,"content":{content}}}"#);
        let message = NewDownlink {
            uid: self.lane.uid.clone(),
            vin: self.lane.vin,
            app: AppId::parse("app").unwrap(),
            envelope: envelope.into(),
            expires_at: SystemTime::now() + Duration::from_secs(3600),
            receipts: Receipts::Asked,
            key: key.map(|key| Key::parse(key).unwrap()),
        };
        self.hub.submit_downlink(message).await.unwrap()
    }
}

fn numbered(looked_at: usize) -> Admission {
    let full = Vec::new();
    Admission::Numbered { looked_at, full }
}

#[tokio::test]
async fn message_gets_no_number_before_its_channel_is_on_disk() {
    let still = Still::new();
    let Still {
        hub, store, lane, ..
    } = &still;
    let dispatch = &hub.inner.dispatch;
    let downlink = still.submit().await;
    still.meet(0).await;
    // The channel's task has its turn only when this one waits.
    assert_eq!(store.channels(), Ok(vec![]));
    let page = std::slice::from_ref(&downlink);
    let admission = dispatch.admit(lane, page, &[]).await;
    assert!(matches!(admission, Admission::Until(_)), "{admission:?}");
    assert_eq!(store.channels(), Ok(vec![]));
    still.reached(Channel::is_begun).await;
    assert_eq!(dispatch.admit(lane, page, &[]).await, numbered(1));
    assert_eq!(
        dispatch.unsent(lane, 0, &LeftOut::default()).await,
        Ok(vec![])
    );
    let kept = store.channel(&lane.vin, &lane.uid).unwrap().unwrap();
    let (memory, numbered) = (kept.memory, kept.numbered);
    assert_eq!((memory.peer, memory.next_number), (Epoch::new(7), 2));
    assert_eq!(numbered.len(), 1);
    assert_eq!(numbered[0].sequence, downlink.sequence);
}

#[tokio::test]
async fn message_that_a_worker_has_read_and_a_newer_one_superseded_is_not_sent() {
    let still = Still::new();
    let Still {
        hub, store, lane, ..
    } = &still;
    let dispatch = &hub.inner.dispatch;
    let (other, older) = (still.submit().await, still.submit_keyed(Some("k")).await);
    still.announce(0).await;
    let newer = still.submit_keyed(Some("k")).await;
    assert_eq!(dispatch.unsent_messages(), 2);
    let page = [older.clone(), other.clone()];
    assert_eq!(dispatch.admit(lane, &page, &[]).await, numbered(2));
    let unsent = dispatch.unsent(lane, 0, &LeftOut::default()).await.unwrap();
    let unsent: Vec<_> = unsent.iter().map(|it| it.sequence).collect();
    assert_eq!(
        (unsent, dispatch.unsent_messages()),
        (vec![newer.sequence], 1)
    );
    let numbered = store.channel(&lane.vin, &lane.uid).unwrap().unwrap();
    let numbered = numbered.numbered.iter();
    let numbered: Vec<_> = numbered.map(|it| (it.number, it.sequence)).collect();
    assert_eq!(numbered, [(2, other.sequence)]);
    // Nor does what a worker notes of it count once more.
    let note = dispatch.note(&older, Step::Expired);
    dispatch.note_finished(lane, vec![note]).await;
    assert_eq!(dispatch.unsent_messages(), 1);
    let steps = store.trace(&older.id).unwrap().unwrap().steps;
    let steps: Vec<_> = steps.into_iter().map(|(step, _)| step).collect();
    assert_eq!(steps, [Step::Accepted, Step::Superseded]);
}

#[tokio::test]
async fn long_message_that_a_worker_has_read_and_that_is_over_does_not_begin_again() {
    let still = Still::new();
    let Still {
        hub, store, lane, ..
    } = &still;
    let dispatch = &hub.inner.dispatch;
    let content = format!(r#""{}""#, "long ".repeat(40_000));
    let downlink = still.submit_content(&content, None).await;
    still.announce(1 << 20).await;
    let waits = LongAdmission::Waits;
    assert_eq!(dispatch.admit_long(lane, &downlink).await, waits);
    let begun = store.transfer(downlink.sequence).unwrap();
    let ended = dispatch.with_driven(lane, |_, channel, _, _| channel.rejected(1));
    assert_eq!(ended.await, Ok(Some(())));
    still.reached(|channel| channel.transfer().is_none()).await;
    assert_eq!(
        dispatch.unsent(lane, 0, &LeftOut::default()).await,
        Ok(vec![])
    );
    assert_eq!(dispatch.admit_long(lane, &downlink).await, waits);
    let kept = store.channel(&lane.vin, &lane.uid).unwrap().unwrap();
    assert_eq!(kept.numbered, []);
    assert_eq!(store.transfer(downlink.sequence), Ok(begun));
    // The next one may go.
    let next = still.submit_content(&content, None).await;
    assert_eq!(dispatch.admit_long(lane, &next).await, waits);
    let kept = store.channel(&lane.vin, &lane.uid).unwrap().unwrap();
    let numbered = kept.numbered.iter();
    let numbered: Vec<_> = numbered.map(|it| (it.number, it.sequence)).collect();
    assert_eq!(numbered, [(3, next.sequence)]);
}

#[tokio::test]
async fn vehicle_that_just_came_is_given_time_to_say_what_it_speaks() {
    let still = Still::new();
    let Still { hub, lane, .. } = &still;
    let dispatch = &hub.inner.dispatch;
    let downlink = still.submit().await;
    let page = std::slice::from_ref(&downlink);
    assert_eq!(dispatch.admit(lane, page, &[]).await, Admission::Ordinary);
    dispatch.set_presence(lane.vin, Presence::Online);
    let waits = |admission| matches!(admission, Admission::Until(_));
    assert!(waits(dispatch.admit(lane, page, &[]).await));
    // Its first word finds the channel made, and is not in it yet.
    let made = dispatch.with_driven(lane, |_, _, _, _| ()).await;
    assert_eq!(made, Ok(Some(())));
    assert!(waits(dispatch.admit(lane, page, &[]).await));
    // It said that it speaks none.
    dispatch.announced(lane.clone(), None).await;
    assert_eq!(dispatch.admit(lane, page, &[]).await, Admission::Ordinary);
}

#[tokio::test]
async fn vehicle_that_says_that_it_speaks_no_delivery_is_not_waited_for() {
    let still = Still::new();
    let Still { hub, lane, .. } = &still;
    let dispatch = &hub.inner.dispatch;
    let downlink = still.submit().await;
    dispatch.set_presence(lane.vin, Presence::Online);
    dispatch.announced(lane.clone(), None).await;
    let admission = dispatch
        .admit(lane, std::slice::from_ref(&downlink), &[])
        .await;
    assert_eq!(admission, Admission::Ordinary);
}

#[tokio::test]
async fn vehicle_that_spoke_no_delivery_is_given_time_again_on_its_next_connection() {
    let still = Still::new();
    let Still { hub, lane, .. } = &still;
    let dispatch = &hub.inner.dispatch;
    let downlink = still.submit().await;
    let page = std::slice::from_ref(&downlink);
    // With the vehicle's first word the channel is only known, later it is in memory.
    for has_channel in [false, true] {
        dispatch.set_presence(lane.vin, Presence::Online);
        if has_channel {
            let made = dispatch.with_driven(lane, |_, _, _, _| ()).await;
            assert_eq!(made, Ok(Some(())));
        }
        dispatch.announced(lane.clone(), None).await;
        let admission = dispatch.admit(lane, page, &[]).await;
        assert_eq!(admission, Admission::Ordinary);
        // It is told to be online again, on the same connection.
        dispatch.set_presence(lane.vin, Presence::Online);
        let admission = dispatch.admit(lane, page, &[]).await;
        assert_eq!(admission, Admission::Ordinary);
        dispatch.set_presence(lane.vin, Presence::Offline);
        dispatch.set_presence(lane.vin, Presence::Online);
        let admission = dispatch.admit(lane, page, &[]).await;
        assert!(matches!(admission, Admission::Until(_)), "{admission:?}");
    }
    still.announce(0).await;
    assert_eq!(dispatch.admit(lane, page, &[]).await, numbered(1));
}

#[tokio::test]
async fn lane_whose_message_expires_while_it_is_admitted_is_run_again() {
    let still = Still::new();
    let Still { hub, lane, .. } = &still;
    let dispatch = &hub.inner.dispatch;
    let mut downlink = still.submit().await;
    downlink.message.expires_at = SystemTime::UNIX_EPOCH;
    still.announce(0).await;
    let admission = dispatch
        .admit(lane, std::slice::from_ref(&downlink), &[])
        .await;
    assert!(matches!(admission, Admission::Until(_)), "{admission:?}");
}

#[tokio::test]
async fn store_refuses_numbers_of_a_channel_that_it_does_not_know() {
    let still = Still::new();
    let Still { store, lane, .. } = &still;
    let downlink = still.submit().await;
    let change = ChannelChange {
        numbered: vec![(1, downlink.sequence)],
        ..ChannelChange::default()
    };
    let changed = store.change_channel(&lane.vin, &lane.uid, change).await;
    assert!(changed.unwrap().is_err());
    assert_eq!(store.unsent(&lane.vin, &lane.uid, 0, 10).unwrap().len(), 1);
}

#[tokio::test]
async fn epoch_of_the_server_never_goes_back() {
    let still = Still::new();
    let Still { store, lane, .. } = &still;
    for epoch in [5, 9, 5] {
        let change = ChannelChange {
            session: Epoch::new(epoch).map(|epoch| (epoch, None, 1)),
            ..ChannelChange::default()
        };
        let changed = store.change_channel(&lane.vin, &lane.uid, change).await;
        assert_eq!(changed.unwrap(), Ok(Changed::default()));
    }
    let memory = store.channel(&lane.vin, &lane.uid).unwrap().unwrap().memory;
    assert_eq!(Some(memory.epoch), Epoch::new(9));
}

#[tokio::test]
async fn message_that_retention_deleted_takes_no_place_when_its_vehicle_loses_it() {
    let still = Still::new();
    let Still {
        hub, store, lane, ..
    } = &still;
    let dispatch = &hub.inner.dispatch;
    let message = NewDownlink {
        uid: lane.uid.clone(),
        vin: lane.vin,
        app: AppId::parse("app").unwrap(),
        envelope: r#"{"idApp":"app","popup":false,"content":1}"#.into(),
        expires_at: SystemTime::now() + Duration::from_secs(3600),
        receipts: Receipts::Repeatable,
        key: None,
    };
    let now = SystemTime::now();
    let appended = store.append_downlink(message, now).await.unwrap().unwrap();
    let held = Step::Told(delivery::Step::HeldBackground);
    let change = ChannelChange {
        session: Some((Epoch::FIRST, Epoch::new(7), 1)),
        numbered: vec![(1, appended.sequence)],
        steps: vec![(1, held, now)],
        ..ChannelChange::default()
    };
    let changed = store.change_channel(&lane.vin, &lane.uid, change).await;
    changed.unwrap().unwrap();
    let loaded = dispatch.with_driven(lane, |_, _, _, _| ()).await;
    assert_eq!(loaded, Ok(Some(())));
    // As retention deletes the trace of a message that is with its vehicle for long.
    let sql = "DELETE FROM numbered; DELETE FROM downlink;";
    crate::store::sqlite::meddle(still.dir.path(), sql);
    let offer = Offer {
        epoch: Epoch::new(8).unwrap(),
        long_bytes_max: 0,
    };
    dispatch.announced(lane.clone(), Some(offer)).await;
    let is_noted = || {
        let kept = store.channel(&lane.vin, &lane.uid).unwrap().unwrap();
        kept.memory.peer == Epoch::new(8) && dispatch.unsent_messages() == 0
    };
    let noted = async {
        while !is_noted() {
            tokio::task::yield_now().await;
        }
    };
    let noted = tokio::time::timeout(Duration::from_secs(30), noted).await;
    noted.expect("no message waits");
}

#[test]
fn batch_of_receipts_that_names_a_message_again_and_again_is_taken_at_its_first_word() {
    let numbered = |number: u32| Numbered {
        number,
        sequence: number.into(),
        bytes: 10,
        piece: None,
        expires_at: SystemTime::now() + Duration::from_secs(3600),
        repeatable: false,
        answered: true,
        handed: false,
        is_request: false,
        app: AppId::parse("app").unwrap(),
        key: None,
    };
    let kept = KeptChannel {
        memory: Snapshot {
            peer: Epoch::new(7),
            next_number: 3,
            ..Snapshot::fresh(Epoch::new(5).unwrap())
        },
        numbered: vec![numbered(1), numbered(2)],
        part: None,
    };
    let mut channel = Channel::new(0, kept, false, 0);
    let (held, handed) = (delivery::Step::HeldBackground, delivery::Step::Handed);
    let (again, first) = (held.code(), handed.code());
    let runs = format!("[{first},1,1,{again},1,2,{first},2,1]");
    let text = format!(r#"{{"vinbus":{{"e":7,"x":5,"k":1,"r":{runs}}}}}"#);
    let Received::Control(control) = delivery::read(Content::parse(text.as_bytes()).unwrap())
    else {
        panic!("it is a batch of receipts");
    };
    channel.handle_control(1, &control);
    let steps = channel.take_notes().change.steps;
    let steps: Vec<_> = steps
        .iter()
        .map(|&(number, step, _)| (number, step))
        .collect();
    assert_eq!(steps, [(1, Step::Told(handed)), (2, Step::Told(held))]);
}
