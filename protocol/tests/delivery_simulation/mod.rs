//! A deterministic simulation of delivery: a host and several agents, with the real state machines
//! and the real bytes, over a network that does what networks do, with a clock of its own.
//!
//! A seed fixes everything that happens. What is true is in the [`ledger`]; whatever an end says
//! about a message is held against it, and at the end the books must balance: accepted = settled +
//! still held + told as lost.

mod content;
mod ledger;
mod network;
mod node;

use std::collections::BTreeMap;

use crate::seeds::random::Random;
use ledger::{Delivered, Ledger};
use network::{Way, Weather};
use node::{Around, Keeps, Node};

use crate::seeds::run_seed;

/// How long trouble lasts.
const TROUBLE_MS: u64 = 90_000;

/// The longest that it may take afterwards until all is settled: the longest expiry, the most
/// patience, and a clock that went back.
const CALM_MS: u64 = 30 * 60_000;

/// What a run has seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) accepted: u64,
    pub(crate) settled: u64,
    pub(crate) held: u64,
    pub(crate) lost: u64,
    /// Times that a long message was begun again.
    pub(crate) begun_again: u64,
    /// Long messages that an app, or the host's log, got.
    pub(crate) long_delivered: u64,
    pub(crate) virtual_ms: u64,
}

impl std::ops::Add for Summary {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            accepted: self.accepted + other.accepted,
            settled: self.settled + other.settled,
            held: self.held + other.held,
            lost: self.lost + other.lost,
            begun_again: self.begun_again + other.begun_again,
            long_delivered: self.long_delivered + other.long_delivered,
            virtual_ms: self.virtual_ms + other.virtual_ms,
        }
    }
}

/// Runs one seed.
///
/// # Errors
/// What went wrong; the text names the seed.
pub(crate) fn run(seed: u64) -> Result<Summary, String> {
    run_seed("delivery", seed, |seed| World::new(seed).run())
}

/// One vehicle and its partner.
struct Channel {
    host: Node,
    agent: Node,
    down: Way,
    up: Way,
    downlink: Ledger,
    uplink: Ledger,
    /// Of what the ends have on disk.
    copies: BTreeMap<Side, Backup>,
}

/// A copy of what an end had on disk, and what had come to it by then.
struct Backup {
    copy: Node,
    delivered: Delivered,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Host,
    Agent,
}

/// What is to happen later.
#[derive(Clone, Copy)]
enum Later {
    StartAgent(usize),
    Connect(usize),
    HostHears(usize),
    HostMisses(usize),
    StartHost,
    Mend(usize),
}

struct World {
    random: Random,
    now_ms: u64,
    channels: Vec<Channel>,
    later: BTreeMap<(u64, u64), Later>,
    counter: u64,
    identities: u64,
    calm: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let agents = random.between(1, 3);
        let channels = (0..agents).map(|_| Channel {
            host: Node::new(Keeps::Disk),
            agent: Node::new(match random.chance(50) {
                true => Keeps::Journal,
                false => Keeps::Memory,
            }),
            down: Way::new(Weather::any(&mut random)),
            up: Way::new(Weather::any(&mut random)),
            downlink: Ledger::default(),
            uplink: Ledger::default(),
            copies: BTreeMap::new(),
        });
        Self {
            channels: channels.collect(),
            now_ms: 1_000,
            later: BTreeMap::new(),
            counter: 0,
            identities: 0,
            calm: false,
            random,
        }
    }

    fn run(mut self) -> Summary {
        self.in_ms(0, Later::StartHost);
        for channel in 0..self.channels.len() {
            self.in_ms(10, Later::StartAgent(channel));
        }
        let mut act_at_ms = self.now_ms;
        while self.now_ms < TROUBLE_MS {
            if act_at_ms <= self.now_ms {
                self.act();
                let pause = [50, 500, 5_000][self.random.index(3)];
                act_at_ms = self.now_ms + self.random.between(1, pause);
            }
            self.advance(act_at_ms);
        }
        self.calm_down();
        let end = self.now_ms + CALM_MS;
        while self.now_ms < end && self.next_at_ms().is_some() {
            self.advance(end);
        }
        self.balance()
    }

    fn in_ms(&mut self, ms: u64, later: Later) {
        self.counter += 1;
        self.later.insert((self.now_ms + ms, self.counter), later);
    }

    /// Lets a node act.
    fn with<T>(
        &mut self,
        channel: usize,
        side: Side,
        act: impl FnOnce(&mut Node, &mut Around<'_>) -> T,
    ) -> T {
        let Channel {
            host,
            agent,
            down,
            up,
            downlink,
            uplink,
            ..
        } = &mut self.channels[channel];
        let (node, way, outward, inward) = match side {
            Side::Host => (host, down, downlink, uplink),
            Side::Agent => (agent, up, uplink, downlink),
        };
        let mut around = Around {
            now_ms: self.now_ms,
            random: &mut self.random,
            way,
            outward,
            inward,
            calm: self.calm,
        };
        act(node, &mut around)
    }

    fn next_at_ms(&self) -> Option<u64> {
        let later = self.later.first_key_value().map(|(&(at, _), _)| at);
        let channels = self.channels.iter().flat_map(|channel| {
            [
                channel.host.next_at_ms(),
                channel.agent.next_at_ms(),
                channel.down.next_at_ms(),
                channel.up.next_at_ms(),
            ]
        });
        channels.flatten().chain(later).min()
    }

    /// Goes on to the next moment at which something happens, or to `until_ms`.
    fn advance(&mut self, until_ms: u64) {
        let next = self.next_at_ms().unwrap_or(until_ms).min(until_ms);
        self.now_ms = self.now_ms.max(next);
        while let Some(first) = self.later.first_entry()
            && first.key().0 <= self.now_ms
        {
            let later = first.remove();
            self.do_later(later);
        }
        for channel in 0..self.channels.len() {
            let now_ms = self.now_ms;
            while let Some(frame) = self.channels[channel].down.arrived(now_ms) {
                self.with(channel, Side::Agent, |node, around| {
                    node.handle_frame(around, &frame);
                });
            }
            while let Some(frame) = self.channels[channel].up.arrived(now_ms) {
                // A host whose agent counts as away still hears what comes.
                self.with(channel, Side::Host, |node, around| {
                    node.handle_frame(around, &frame);
                });
            }
            self.with(channel, Side::Host, Node::pump);
            self.with(channel, Side::Agent, Node::pump);
        }
    }

    fn do_later(&mut self, later: Later) {
        match later {
            Later::StartAgent(channel) => {
                if !self.channels[channel].agent.is_running() {
                    self.with(channel, Side::Agent, Node::start);
                    self.in_ms(200, Later::Connect(channel));
                }
            }
            Later::Connect(channel) => {
                self.with(channel, Side::Agent, |node, around| {
                    node.set_link(around, true);
                });
                if self.calm || self.random.chance(90) {
                    self.in_ms(50, Later::HostHears(channel));
                }
            }
            // The presence report, which is retained.
            Later::HostHears(channel) => {
                let agent = &self.channels[channel].agent;
                if let Some(offer) = agent.offer().filter(|_| agent.link) {
                    self.with(channel, Side::Host, |node, around| {
                        node.set_link(around, true);
                        node.announced(around, offer);
                    });
                }
            }
            Later::HostMisses(channel) => {
                if !self.channels[channel].agent.link {
                    self.with(channel, Side::Host, |node, around| {
                        node.set_link(around, false);
                    });
                }
            }
            Later::StartHost => {
                for channel in 0..self.channels.len() {
                    if !self.channels[channel].host.is_running() {
                        self.with(channel, Side::Host, Node::start);
                    }
                    self.in_ms(20, Later::HostHears(channel));
                }
            }
            Later::Mend(channel) => {
                let channel = &mut self.channels[channel];
                (channel.down.cut, channel.up.cut) = (false, false);
            }
        }
    }

    /// Something happens.
    fn act(&mut self) {
        let channel = self.random.index(self.channels.len());
        let side = [Side::Host, Side::Agent][self.random.index(2)];
        match self.random.between(0, 103) {
            0..=59 => {
                for _ in 0..[1, 1, 1, 12][self.random.index(4)] {
                    self.identities += 1;
                    let identity = self.identities;
                    self.with(channel, side, |node, around| {
                        node.accept(around, identity);
                    });
                }
            }
            60..=68 => self.with(channel, Side::Agent, Node::open_app),
            69 => self.channels[channel].agent.abandon(),
            70..=72 => self.with(channel, side, Node::withdraw),
            73..=76 => {
                let now_ms = self.now_ms;
                let Channel { down, up, .. } = &mut self.channels[channel];
                down.replay(now_ms, &mut self.random);
                up.replay(now_ms, &mut self.random);
            }
            77..=79 => self.jump_clock(channel, side),
            80..=82 => {
                let weather = Weather::any(&mut self.random);
                self.channels[channel].down.weather = weather;
                self.channels[channel].up.weather = Weather::any(&mut self.random);
            }
            // A partition that nobody is told of.
            83..=85 => {
                let ways = &mut self.channels[channel];
                (ways.down.cut, ways.up.cut) = (self.random.chance(70), self.random.chance(70));
                let ms = self.random.between(100, 30_000);
                self.in_ms(ms, Later::Mend(channel));
            }
            86..=89 => self.tunnel(channel),
            90..=91 => self.restart_broker(),
            92..=94 => {
                self.with(channel, Side::Agent, Node::kill);
                self.agent_is_away(channel);
            }
            95..=97 => {
                self.with(channel, Side::Agent, Node::stop);
                self.agent_is_away(channel);
            }
            98..=100 => self.back_up(channel, side),
            101 => self.put_back(channel, side),
            _ => {
                for channel in 0..self.channels.len() {
                    self.with(channel, Side::Host, Node::kill);
                }
                let ms = self.random.between(10, 5_000);
                self.in_ms(ms, Later::StartHost);
            }
        }
    }

    fn jump_clock(&mut self, channel: usize, side: Side) {
        let by = match self.random.chance(50) {
            true => self.random.between(0, 60_000) as i64,
            false => -(self.random.between(0, 20_000) as i64),
        };
        self.with(channel, side, |node, around| {
            node.offset_ms += by;
            node.pump(around);
        });
    }

    /// The link of an agent is lost, and all that was on its way.
    fn tunnel(&mut self, channel: usize) {
        self.with(channel, Side::Agent, |node, around| {
            node.set_link(around, false);
        });
        self.channels[channel].down.drop_all();
        self.channels[channel].up.drop_all();
        if self.random.chance(70) {
            self.in_ms(2_000, Later::HostMisses(channel));
        }
        let ms = self.random.between(500, 20_000);
        self.in_ms(ms, Later::Connect(channel));
    }

    /// All links are lost at once, at both ends, and with them what the broker had.
    fn restart_broker(&mut self) {
        for channel in 0..self.channels.len() {
            self.with(channel, Side::Host, |node, around| {
                node.set_link(around, false);
            });
            self.tunnel(channel);
        }
    }

    /// What an end has on disk is copied.
    fn back_up(&mut self, channel: usize, side: Side) {
        let backup = self.with(channel, side, |node, around| {
            let delivered = around.inward.delivered();
            node.copied().map(|copy| Backup { copy, delivered })
        });
        let copies = &mut self.channels[channel].copies;
        copies.extend(backup.map(|backup| (side, backup)));
    }

    /// An end is stopped, its copy put back, and it goes on from that. To put one back takes longer than a
    /// frame lives, so nothing comes any more that was sent before: a word of how far an end had come when
    /// the copy was taken would hide that it came further.
    fn put_back(&mut self, channel: usize, side: Side) {
        let at = &mut self.channels[channel];
        let Some(Backup { copy, delivered }) = at.copies.remove(&side) else {
            return;
        };
        at.down.outlive_all();
        at.up.outlive_all();
        self.with(channel, side, |node, around| {
            node.kill(around);
            around
                .inward
                .receiver_put_back(delivered, side == Side::Host);
            node.put_back(around, copy);
        });
        match side {
            Side::Host => {
                let ms = self.random.between(10, 5_000);
                self.in_ms(ms, Later::StartHost);
            }
            Side::Agent => self.agent_is_away(channel),
        }
    }

    fn agent_is_away(&mut self, channel: usize) {
        self.in_ms(500, Later::HostMisses(channel));
        let ms = self.random.between(1, 10_000);
        self.in_ms(ms, Later::StartAgent(channel));
    }

    /// From now on nothing goes wrong any more.
    fn calm_down(&mut self) {
        self.calm = true;
        for channel in 0..self.channels.len() {
            let Channel { down, up, .. } = &mut self.channels[channel];
            for way in [down, up] {
                (way.weather, way.cut) = (Weather::FAIR, false);
            }
            self.in_ms(1, Later::StartHost);
            self.in_ms(2, Later::StartAgent(channel));
            self.in_ms(20_000, Later::Connect(channel));
        }
    }

    fn balance(self) -> Summary {
        let mut summary = Summary {
            virtual_ms: self.now_ms,
            ..Summary::default()
        };
        for channel in &self.channels {
            let Channel {
                host,
                agent,
                downlink,
                uplink,
                ..
            } = channel;
            summary.accepted += host.accepted + agent.accepted;
            summary.begun_again += host.begun_again + agent.begun_again;
            summary.long_delivered += downlink.long_delivered() + uplink.long_delivered();
            for sums in [host.balance(agent, downlink), agent.balance(host, uplink)] {
                summary.settled += sums[0];
                summary.held += sums[1];
                summary.lost += sums[2];
            }
        }
        summary
    }
}
