//! How long one decision of the bus's access rules takes, with 1,000 clients of 50 permissions each.
//!
//! Each decision is of another client, as on a broker: its permissions are seldom in the processor's
//! nearest cache. Half of the topics are allowed by the last permission and half by none, which are
//! the slowest decisions.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use vinbus_protocol::bus::access::{AccessRules, Action, Permission, Subject};
use vinbus_protocol::bus::topics;

const CLIENTS: usize = 1_000;
const PERMISSIONS: usize = 50;

struct Client {
    apps: Vec<String>,
    permissions: Vec<Permission<String>>,
    topic: String,
}

impl Client {
    fn new(number: usize) -> Self {
        let app = format!("app-{number}");
        // A step that has no factor in common with the number of topics visits all of them.
        let spec = &topics::ALL[number * 7 % topics::ALL.len()];
        let mut held: Vec<_> = (0..PERMISSIONS - 1)
            .map(|at| format!("resource{}.scope-{at}", (number + at) % 20))
            .collect();
        held.push(if number.is_multiple_of(2) {
            format!("{}.{}", spec.resource, spec.scope)
        } else {
            "resource.scope".into()
        });
        Self {
            topic: format!("app/{app}/{}/{}/s-{number}", spec.resource, spec.scope),
            apps: vec![app],
            permissions: held
                .into_iter()
                .map(|text| Permission::parse(text).expect("a permission"))
                .collect(),
        }
    }

    fn decides(&self) -> bool {
        let subject = Subject {
            apps: &self.apps,
            user: None,
            permissions: &self.permissions,
            superuser: false,
        };
        let rules = AccessRules::default();
        rules
            .decide(&subject, Action::Publish, black_box(&self.topic))
            .is_ok()
    }
}

fn decide(criterion: &mut Criterion) {
    let clients: Vec<_> = (0..CLIENTS).map(Client::new).collect();
    let allowed = clients.iter().filter(|client| client.decides()).count();
    assert_eq!(allowed, CLIENTS / 2);
    let mut group = criterion.benchmark_group("access");
    group.throughput(Throughput::Elements(CLIENTS as u64));
    group.bench_function("decide", |bencher| {
        bencher.iter(|| clients.iter().filter(|client| client.decides()).count());
    });
    group.finish();
}

criterion_group!(benches, decide);
criterion_main!(benches);
