//! Pages of messages that wait, those for some apps left out, or those with receipts.

mod store_support;

use store_support::{downlink, now, open, settled, uid, vin};
use vinbus_host_server::model::{NewDownlink, Receipts};
use vinbus_host_server::store::Store as _;
use vinbus_host_server::store::channels::{ChannelStore as _, LeftOut};
use vinbus_host_server::store::requests::RequestStore as _;
use vinbus_protocol::id::AppId;
use vinbus_protocol::request::RequestId;

#[test]
fn page_has_the_first_of_those_that_are_not_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let apps = ["a", "b", "c", "d"].map(|app| AppId::parse(app).unwrap());
    // Sequence, app, whether it is with receipts, and whether it is a request.
    let mut all = Vec::new();
    for n in 0..60 {
        let app = &apps[n * n % 7 % 4];
        let is_request = n % 9 == 8;
        let receipts = match n % 5 {
            0 | 1 if !is_request => Receipts::No,
            2 => Receipts::Repeatable,
            _ => Receipts::Asked,
        };
        let message = NewDownlink {
            app: app.clone(),
            receipts,
            ..downlink(1, &b"{}"[..])
        };
        let stored = match is_request {
            true => settled(store.append_request(RequestId::new(n as u64), message, now())),
            false => settled(store.append_downlink(message, now())),
        };
        all.push((
            stored.unwrap().sequence,
            app,
            receipts != Receipts::No,
            is_request,
        ));
    }
    // Another vehicle's are nobody's here.
    settled(store.append_downlink(downlink(2, &b"{}"[..]), now())).unwrap();
    for left_out in 0..1 << apps.len() {
        let apps: Vec<_> = (0..apps.len())
            .filter(|app| left_out >> app & 1 == 1)
            .map(|app| apps[app].clone())
            .collect();
        for (after, only_without_receipts) in [0, 1, 13, 60]
            .into_iter()
            .flat_map(|it| [(it, false), (it, true)])
        {
            let left_out = LeftOut {
                apps: apps.clone(),
                only_without_receipts,
            };
            let page = store.unsent_besides(&vin(1), &uid("partner"), after, &left_out, 7);
            let expected = all.iter().filter(|(sequence, app, asks, is_request)| {
                let waits = only_without_receipts && *asks || !is_request && apps.contains(app);
                *sequence > after && !waits
            });
            let expected: Vec<_> = expected.map(|(sequence, ..)| *sequence).take(7).collect();
            let page: Vec<_> = page.unwrap().iter().map(|it| it.sequence).collect();
            assert_eq!(page, expected, "{left_out:?} after {after}");
        }
    }
}
