//! Pages of messages that wait, those for some apps left out.

mod store_support;

use store_support::{downlink, now, open, settled, uid, vin};
use vinbus_host_server::model::{NewDownlink, Receipts};
use vinbus_host_server::store::Store as _;
use vinbus_host_server::store::channels::ChannelStore as _;
use vinbus_host_server::store::requests::RequestStore as _;
use vinbus_protocol::id::AppId;
use vinbus_protocol::request::RequestId;

#[test]
fn page_for_others_has_the_first_that_wait_for_no_app_left_out_and_requests() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let apps = ["a", "b", "c", "d"].map(|app| AppId::parse(app).unwrap());
    // Sequence, app, and whether it is a request.
    let mut all = Vec::new();
    for n in 0..60 {
        let app = &apps[n * n % 7 % 4];
        let message = NewDownlink {
            app: app.clone(),
            receipts: Receipts::Asked,
            ..downlink(1, &b"{}"[..])
        };
        let is_request = n % 9 == 8;
        let stored = match is_request {
            true => settled(store.append_request(RequestId::new(n as u64), message, now())),
            false => settled(store.append_downlink(message, now())),
        };
        all.push((stored.unwrap().sequence, app, is_request));
    }
    // Another vehicle's are nobody's here.
    settled(store.append_downlink(downlink(2, &b"{}"[..]), now())).unwrap();
    for left_out in 0..1 << apps.len() {
        let apps: Vec<_> = (0..apps.len())
            .filter(|app| left_out >> app & 1 == 1)
            .map(|app| apps[app].clone())
            .collect();
        for after in [0, 1, 13, 60] {
            let page = store.unsent_for_others(&vin(1), &uid("partner"), after, &apps, 7);
            let expected = all.iter().filter(|(sequence, app, is_request)| {
                *sequence > after && (*is_request || !apps.contains(app))
            });
            let expected: Vec<_> = expected.map(|(sequence, ..)| *sequence).take(7).collect();
            let page: Vec<_> = page.unwrap().iter().map(|it| it.sequence).collect();
            assert_eq!(page, expected, "{apps:?} after {after}");
        }
    }
}
