//! Reports of health: to whom, when, and what they say.

use std::time::Duration;

use tokio::time::sleep;

use crate::air::{Air, SharedAir};
use crate::cabin::Cabin;
use crate::drive::{APPS, life, topic};

/// The reports that the broker has: topic and payload.
fn reports(air: &SharedAir) -> Vec<(String, String)> {
    let air = air.borrow();
    let reports = air.published.iter();
    let reports = reports.filter(|(topic, _, _)| topic.ends_with("/vinbus/health"));
    reports
        .map(|(topic, payload, retained)| {
            assert!(!retained);
            (topic.clone(), payload.clone())
        })
        .collect()
}

pub(crate) async fn until_connected(air: &SharedAir) {
    while !air.borrow().connected {
        sleep(Duration::from_millis(1)).await;
    }
}

fn send(air: &SharedAir, messages: usize) {
    let payload = r#"{"idApp":"app0","content":1}"#;
    for _ in 0..messages {
        air.borrow_mut().send(&topic("to", 0), payload.into());
    }
}

#[tokio::test(start_paused = true)]
async fn every_partner_hears_after_the_vehicle_came_online_and_when_a_trouble_is_new() {
    let (air, cabin) = (Air::new(7), Cabin::new(APPS));
    air.borrow_mut().kind = true;
    let drive = async {
        until_connected(&air).await;
        sleep(Duration::from_secs(30)).await;
        assert_eq!(reports(&air).len(), 2, "each partner once");
        // What all goes well with is not worth a report.
        send(&air, 10);
        sleep(Duration::from_secs(3_600)).await;
        assert_eq!(reports(&air).len(), 2);
        // Two of them find no room any more.
        send(&air, 2);
        sleep(Duration::from_secs(3_600)).await;
        assert_eq!(reports(&air).len(), 4);
    };
    life(&air, &cabin, 7, drive).await;
    let reports = reports(&air);
    for (told, uid) in reports.iter().zip(["first", "second", "first", "second"]) {
        assert!(
            told.0.contains(&format!("/from/uid/{uid}/opa/")),
            "{}",
            told.0
        );
    }
    let version = env!("CARGO_PKG_VERSION");
    let first = format!(r#"{{"content":{{"agent":"{version}","platform":"test","uptimeS":"#);
    let pools = r#","pools":{"pending":{"used":0,"size":1024},"uplinks":{"used":0,"size":8192},"popups":{"used":0,"size":1024}}"#;
    let healthy = format!(r#"{pools},"counters":{{"sessions":1}},"troubles":{{}}}}}}"#);
    let (_, at_first) = &reports[0];
    assert!(at_first.starts_with(&first), "{at_first}");
    assert!(at_first.ends_with(&healthy), "{at_first}");
    let (_, at_last) = &reports[3];
    // The last ten of twelve: each has a header of 12 bytes.
    let full = r#","pools":{"pending":{"used":250,"size":1024},"#;
    assert!(at_last.contains(full), "{at_last}");
    let troubled = r#""received":12,"pending":12},"troubles":{"evicted":2}}}"#;
    assert!(at_last.ends_with(troubled), "{at_last}");
}

#[tokio::test(start_paused = true)]
async fn neither_a_flood_nor_a_link_that_comes_and_goes_makes_more_than_one_report_a_minute() {
    let (air, cabin) = (Air::new(11), Cabin::new(APPS));
    air.borrow_mut().kind = true;
    const MINUTES: u64 = 30;
    let drive = async {
        for second in 0..60 * MINUTES {
            send(&air, 20);
            if second % 40 == 39 {
                air.borrow_mut().break_link();
            }
            sleep(Duration::from_secs(1)).await;
        }
    };
    life(&air, &cabin, 11, drive).await;
    let told = reports(&air).len() as u64;
    assert!(told > MINUTES / 2, "{told} reports");
    assert!(told <= 2 * (MINUTES + 1), "{told} reports");
}
