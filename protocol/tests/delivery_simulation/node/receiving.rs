//! What comes: kept, handed on, held or refused, and put together if it is a part.

use vinbus_protocol::delivery::parts::PartError;
use vinbus_protocol::delivery::{
    self, Carried, Header, MessageId, Part, Received, Run, Step, Verdict, Window,
};
use vinbus_protocol::envelope::{Downlink, DownlinkBody, Uplink};
use vinbus_protocol::limits::PENDING_MESSAGES_MAX;

use super::super::content::identity_of;
use super::{Around, Came, Commit, Keeps, Node};

impl Node {
    pub(crate) fn handle_frame(&mut self, around: &mut Around<'_>, frame: &[u8]) {
        if self.endpoint.is_none() || !self.link {
            return;
        }
        let content = match Downlink::decode(frame) {
            Ok(Downlink {
                body: DownlinkBody::Data(content),
                ..
            }) => content,
            _ => Uplink::decode(frame).expect("an envelope").content,
        };
        match delivery::read(content) {
            Received::Plain => panic!("only delivery speaks here"),
            Received::Message(header, carried) => {
                let now_ms = self.local(around.now_ms);
                let endpoint = self.endpoint.as_mut().expect("it runs");
                let verdict = endpoint.handle_message(now_ms, &header);
                self.settle_events(around);
                let endpoint = self.endpoint.as_mut().expect("it runs");
                match verdict {
                    // A host hears first how far the other end has come.
                    Verdict::New(id) if self.keeps == Keeps::Disk && !self.met => {
                        endpoint.forget(id);
                    }
                    Verdict::New(id) => self.take_message(around, id, &header, &carried),
                    Verdict::Repeated | Verdict::Stale | Verdict::Busy => {}
                }
            }
            Received::Control(control) => {
                let now_ms = self.local(around.now_ms);
                let endpoint = self.endpoint.as_mut().expect("it runs");
                let mut told: Vec<Run> = Vec::new();
                let batch = endpoint.handle_control(now_ms, &control, |run| told.push(run));
                self.met |= endpoint.is_established();
                self.settle_events(around);
                // A part that is answered before it was taken up again is over.
                self.to_resume.retain(|message| {
                    let sent = &self.sent[message];
                    let number = sent.number.expect("it was sent");
                    let is_named = |run: &Run| {
                        (run.first..=run.first.saturating_add(run.count - 1)).contains(&number)
                    };
                    sent.progress.is_none() || !told.iter().any(is_named)
                });
                if let Some(batch) = batch {
                    let later = match self.keeps {
                        Keeps::Disk => around.random.between(0, 50),
                        Keeps::Memory | Keeps::Journal => 0,
                    };
                    self.notes.push_back((around.now_ms + later, batch, told));
                }
            }
        }
        self.pump(around);
    }

    /// What is new.
    fn take_message(
        &mut self,
        around: &mut Around<'_>,
        id: MessageId,
        header: &Header,
        carried: &Carried<'_>,
    ) {
        let text = carried.pieces().concat();
        let came = match header.part {
            // The piece is a JSON string.
            Some(part) => Came::Part(part, serde_json::from_str(&text).expect("a string")),
            None => Came::Whole(identity_of(&text)),
        };
        match (self.keeps, came) {
            (Keeps::Disk, came) => {
                let at_ms = around.now_ms + around.random.between(0, 30);
                self.commits.push_back(Commit { at_ms, id, came });
            }
            (_, Came::Whole(message)) => {
                self.take(around, id, message, header.ttl_s);
            }
            (_, Came::Part(part, _)) => self.take_part(around, id, part, (carried, header.ttl_s)),
        }
    }

    fn take_part(
        &mut self,
        around: &mut Around<'_>,
        id: MessageId,
        part: Part,
        (carried, ttl_s): (&Carried<'_>, u32),
    ) {
        let is_refused = part.offset == 0 && around.random.chance(3);
        let added = match is_refused {
            true => {
                self.assembly.clear();
                Err(Step::UnknownApp)
            }
            false => self.assembly.add(part, carried).map_err(PartError::step),
        };
        let is_kept = match added {
            Ok(true) => {
                let whole = self.assembly.whole().expect("it is JSON");
                let message = identity_of(whole.as_str());
                let is_kept = self.take(around, id, message, ttl_s);
                if is_kept {
                    self.assembly.clear();
                }
                is_kept
            }
            Ok(false) => self.keep(around, id, Step::PartStored),
            Err(step) => self.report(around, id, step),
        };
        if !is_kept {
            self.assembly.truncate(part.offset as usize);
        }
    }

    /// A part is kept, unless the disk refuses it now.
    fn keep(&mut self, around: &mut Around<'_>, id: MessageId, step: Step) -> bool {
        let endpoint = self.endpoint.as_mut().expect("it runs");
        if !around.calm && around.random.chance(10) {
            assert!(endpoint.forget(id), "nothing was reported");
            return false;
        }
        self.report(around, id, step)
    }

    fn report(&mut self, around: &Around<'_>, id: MessageId, step: Step) -> bool {
        let now_ms = self.local(around.now_ms);
        let endpoint = self.endpoint.as_mut().expect("it runs");
        assert!(endpoint.report(now_ms, id, step), "it is open");
        true
    }

    /// What is new and whole: handed on, held or refused; `false` if it could not be taken.
    fn take(&mut self, around: &mut Around<'_>, id: MessageId, message: u64, ttl_s: u32) -> bool {
        let now_ms = self.local(around.now_ms);
        let endpoint = self.endpoint.as_mut().expect("it runs");
        let mut report = |step| assert!(endpoint.report(now_ms, id, step), "it is open");
        match around.random.between(0, 9) {
            0 => report(Step::UnknownApp),
            1 if !around.calm => {
                assert!(endpoint.forget(id), "nothing was reported");
                return false;
            }
            2..=3 if self.held.is_empty() => {
                around.inward.deliver(message);
                report(Step::Handed);
                self.handed.push_back((id, message));
            }
            4..=6 if self.held.is_empty() => {
                around.inward.deliver(message);
                report(Step::Taken);
            }
            _ => {
                report(Step::Received);
                report(Step::HeldBackground);
                let ends = (ttl_s > 0).then(|| around.now_ms + u64::from(ttl_s) * 1_000);
                self.held.push_back((id, message, ends));
                if self.held.len() > PENDING_MESSAGES_MAX
                    && let Some((id, ..)) = self.held.pop_front()
                {
                    endpoint.report(now_ms, id, Step::Evicted);
                }
            }
        }
        true
    }

    /// The app comes to the front and takes what is held, and confirms what it was handed.
    pub(crate) fn open_app(&mut self, around: &mut Around<'_>) {
        let now_ms = self.local(around.now_ms);
        let Some(endpoint) = &mut self.endpoint else {
            return;
        };
        for (id, message, ends) in self.held.drain(..) {
            if ends.is_some_and(|ends| ends <= around.now_ms) {
                endpoint.report(now_ms, id, Step::Expired);
            } else {
                around.inward.deliver(message);
                endpoint.report(now_ms, id, Step::Taken);
            }
        }
        for (id, _) in self.handed.drain(..) {
            let step = match around.random.chance(80) {
                true => Step::Confirmed,
                false => Step::RefusedByApp,
            };
            endpoint.report(now_ms, id, step);
        }
        self.pump(around);
    }

    /// An agent drops what it has stored of a long message.
    pub(crate) fn abandon(&mut self) {
        self.assembly.clear();
    }

    /// What came and is to be on disk by then is.
    pub(super) fn commit(&mut self, around: &mut Around<'_>, until_ms: u64) {
        while let Some(Commit { id, came, .. }) =
            self.commits.pop_front_if(|commit| commit.at_ms <= until_ms)
        {
            let endpoint = self.endpoint.as_mut().expect("it runs");
            if !around.calm && around.random.chance(10) {
                endpoint.forget(id);
                continue;
            }
            if self.window_of != Some(id.epoch) {
                if self.window_of.is_some_and(|epoch| epoch > id.epoch) {
                    // Of a life that is over: it is on disk all the same, and told to nobody.
                    if let Came::Whole(message) = came {
                        around.inward.deliver(message);
                    }
                    continue;
                }
                (self.window, self.window_of) = (Window::default(), Some(id.epoch));
            }
            let step = self.commit_one(around, id, came);
            // What was refused leaves nothing on disk.
            if step.is_success() {
                self.window.insert(id.number);
            }
            let now_ms = self.local(around.now_ms);
            if let Some(endpoint) = &mut self.endpoint {
                endpoint.report(now_ms, id, step);
            }
        }
    }

    fn commit_one(&mut self, around: &mut Around<'_>, id: MessageId, came: Came) -> Step {
        let message = match came {
            Came::Whole(message) => message,
            // It was refused before.
            Came::Part(..) if self.last_part.is_some_and(|last| id.number < last.number) => {
                return Step::PartMissing;
            }
            Came::Part(part, piece) => {
                let restored = self.assembly.restore(part, &piece);
                self.last_part = restored.is_ok_and(|is_whole| !is_whole).then_some(id);
                match restored {
                    Ok(false) => return Step::PartStored,
                    Ok(true) => {
                        let whole = self.assembly.whole().expect("it is JSON");
                        let message = identity_of(whole.as_str());
                        self.assembly.clear();
                        message
                    }
                    Err(error) => return error.step(),
                }
            }
        };
        around.inward.deliver(message);
        Step::Confirmed
    }
}
