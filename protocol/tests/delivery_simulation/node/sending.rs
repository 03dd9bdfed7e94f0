//! What goes: messages, the parts of a long one one after the other, and what is heard of them.

use std::collections::VecDeque;

use vinbus_protocol::delivery::{
    CONTROL_APP, Event, Header, Loss, Marked, Part, Step, SubmitError, Transmit, Window, parts,
};
use vinbus_protocol::envelope::Content;
use vinbus_protocol::id::AppId;
use vinbus_protocol::limits::{
    DELIVERY_ADDED_BYTES_MAX, DELIVERY_CONTROL_BYTES_MAX, DELIVERY_LONG_BEGINS_MAX,
};

use super::super::content::{PIECE_BYTES_MAX, content_of};
use super::{Around, Keeps, Node};

impl Node {
    pub(super) fn note(&mut self, around: &mut Around<'_>, until_ms: u64) {
        while let Some((_, batch, runs)) = self.notes.pop_front_if(|note| note.0 <= until_ms) {
            for run in runs {
                let last = run.first.saturating_add(run.count - 1);
                let named = self.numbers.range(run.first..=last);
                let named: Vec<(u32, u64)> = named.map(|(&number, &it)| (number, it)).collect();
                for (number, message) in named {
                    self.tell(around, (number, message), run.step);
                }
            }
            if let Some(endpoint) = &mut self.endpoint {
                endpoint.acknowledge(batch);
            }
        }
    }

    fn tell(&mut self, around: &mut Around<'_>, (number, message): (u32, u64), step: Step) {
        let Some(sent) = self.sent.get_mut(&message) else {
            return;
        };
        assert_eq!(sent.number, Some(number), "it was sent");
        if sent.progress.is_some() && self.tell_part(around, (number, message), step) {
            return;
        }
        let sent = self.sent.get_mut(&message).expect("it is kept");
        if sent.step.is_some_and(Step::is_final) {
            return;
        }
        sent.step = Some(step);
        if step.is_final() {
            around.outward.check_told(message, step);
        }
    }

    /// Whether the step was of a part, and not of its message.
    fn tell_part(
        &mut self,
        around: &mut Around<'_>,
        (number, message): (u32, u64),
        step: Step,
    ) -> bool {
        let sent = self.sent.get_mut(&message).expect("it is kept");
        let is_over = sent.is_settled();
        let progress = sent.progress.as_mut().expect("it goes in parts");
        let begins_again = match step {
            Step::PartStored => progress.is_last(),
            Step::PartMissing => true,
            Step::Known if !progress.is_last() => true,
            _ => {
                if self.transfer == Some(message) {
                    self.transfer = None;
                }
                return false;
            }
        };
        if is_over {
            // What is told of this number from here on is not of the message.
            self.numbers.remove(&number);
            return true;
        }
        if !begins_again {
            progress.stored = progress.end;
        } else if progress.begun < DELIVERY_LONG_BEGINS_MAX {
            (progress.stored, progress.begun) = (0, progress.begun + 1);
            self.begun_again += 1;
        } else {
            self.lose(around, number, Loss::GivenUp);
            return true;
        }
        sent.number = None;
        self.numbers.remove(&number);
        true
    }

    /// Does what events ask for; `false` if there was none.
    pub(super) fn settle_events(&mut self, around: &mut Around<'_>) -> bool {
        let now_ms = self.local(around.now_ms);
        let mut any = false;
        while let Some(event) = self
            .endpoint
            .as_mut()
            .and_then(|endpoint| endpoint.poll_event(now_ms))
        {
            any = true;
            match event {
                Event::Lost { number, loss } => self.lose(around, number, loss),
                Event::PeerRestarted | Event::EpochChanged(_) => {
                    // What came is on disk before another life is, which knows nothing of it.
                    self.commit(around, u64::MAX);
                    self.assembly.clear();
                    (self.last_part, self.window) = (None, Window::default());
                    if let Event::EpochChanged(epoch) = event {
                        self.note_epoch(epoch);
                        // What came before is told to nobody: its numbers may be given again, and none is 0.
                        let held = self.held.iter_mut().map(|held| &mut held.0);
                        for id in held.chain(self.handed.iter_mut().map(|handed| &mut handed.0)) {
                            id.number = 0;
                        }
                        // The other end took us for another, and forgot what it knew of us; and of
                        // what it sent us before, nothing is known in the new life.
                        around.outward.receiver_forgot();
                        around.inward.receiver_forgot();
                    }
                    // What was told before counts before.
                    self.note(around, u64::MAX);
                    let unknown: Vec<u32> = self
                        .numbers
                        .iter()
                        .filter(|(_, message)| {
                            let sent = self.sent.get(message);
                            sent.is_some_and(|sent| sent.step.is_some() && !sent.is_settled())
                        })
                        .map(|(&number, _)| number)
                        .collect();
                    for number in unknown {
                        self.lose(around, number, Loss::PeerRestarted);
                    }
                    self.lose_what_is_to_be_resumed(around);
                }
            }
        }
        any
    }

    /// What was sent to a life of the other end that is over, and has found no place since.
    fn lose_what_is_to_be_resumed(&mut self, around: &mut Around<'_>) {
        let (again, lost): (VecDeque<u64>, VecDeque<u64>) = self
            .to_resume
            .iter()
            .partition(|message| self.sent[message].submitted().repeatable);
        self.to_resume = again;
        for message in lost {
            let number = self.sent[&message].number.expect("it was sent");
            self.lose(around, number, Loss::PeerRestarted);
        }
    }

    pub(super) fn lose(&mut self, around: &mut Around<'_>, number: u32, loss: Loss) {
        let message = self.numbers[&number];
        let sent = self.sent.get_mut(&message).expect("it is kept");
        if !sent.is_settled() {
            sent.loss = Some(loss);
        }
        if self.transfer == Some(message) {
            self.transfer = None;
        }
        let truth = around.outward.truths.get_mut(&message);
        truth.expect("it was accepted").told_lost = true;
    }

    pub(super) fn refill(&mut self, around: &mut Around<'_>) {
        let now_ms = self.local(around.now_ms);
        let Some(endpoint) = &mut self.endpoint else {
            return;
        };
        while let Some(&message) = self.to_resume.front() {
            let sent = &self.sent[&message];
            let number = sent.number.expect("it was sent");
            match endpoint.resume_sent(now_ms, number, sent.submitted()) {
                Err(SubmitError::Full) => return,
                resumed => assert_eq!(resumed, Ok(())),
            }
            self.to_resume.pop_front();
        }
        // A number is on disk before it is sent, and counts as sent from then on.
        if !endpoint.is_established() {
            return;
        }
        self.refill_long(now_ms);
        let Some(endpoint) = &mut self.endpoint else {
            return;
        };
        while let Some(&message) = self.waiting.front() {
            let sent = self.sent.get_mut(&message).expect("it is kept");
            let submitted = match endpoint.submit(now_ms, sent.message) {
                Err(SubmitError::Full) => return,
                submitted => submitted.expect("numbers last"),
            };
            self.waiting.pop_front();
            sent.number = Some(submitted.number);
            self.numbers.insert(submitted.number, message);
            if let Some(superseded) = submitted.superseded {
                let older = self.numbers[&superseded];
                self.sent.get_mut(&older).expect("it is kept").superseded = true;
            }
        }
    }

    /// Hands on the next part of a long message, if it is its turn.
    fn refill_long(&mut self, now_ms: u64) {
        let Some(endpoint) = &mut self.endpoint else {
            return;
        };
        if endpoint.peer_takes_parts().is_none() {
            return;
        }
        if self.transfer.is_none() {
            self.transfer = self.waiting_long.pop_front();
        }
        let Some(message) = self.transfer else {
            return;
        };
        let sent = self.sent.get_mut(&message).expect("it is kept");
        let progress = sent.progress.as_mut().expect("it goes in parts");
        if sent.number.is_some() {
            return;
        }
        let piece = parts::piece(&progress.text, progress.stored, PIECE_BYTES_MAX);
        progress.end = progress.stored + piece.len();
        match endpoint.submit(now_ms, sent.submitted()) {
            Err(SubmitError::Full) => {}
            submitted => {
                let number = submitted.expect("numbers last").number;
                sent.number = Some(number);
                self.numbers.insert(number, message);
            }
        }
    }

    /// Numbers of messages that the other end has answered, and not finally.
    fn open_at_the_other(&self) -> Vec<u32> {
        let numbers = self.numbers.iter();
        let open = numbers.filter(|(_, message)| {
            let sent = &self.sent[message];
            sent.step.is_some() && !sent.is_settled()
        });
        open.map(|(&number, _)| number).collect()
    }

    pub(super) fn transmit(&mut self, around: &mut Around<'_>) {
        let now_ms = self.local(around.now_ms);
        let open = self.open_at_the_other();
        let Some(endpoint) = &mut self.endpoint else {
            return;
        };
        let mut buffer = [0; 8 * 1024];
        for round in 0.. {
            assert!(round < 1_000, "it never stops sending");
            let word = around.random.word() as u32;
            let frame = match endpoint.poll_transmit(now_ms, word) {
                None => break,
                Some(Transmit::Control(control)) if self.keeps == Keeps::Disk => {
                    let control = control.with_open(open.iter().copied());
                    control.encode_downlink(&mut buffer).expect("it fits")
                }
                Some(Transmit::Control(control)) => {
                    let frame = control.encode_uplink(&mut buffer).expect("it fits");
                    assert!(frame.len() <= DELIVERY_CONTROL_BYTES_MAX + 12);
                    frame
                }
                Some(Transmit::Message(header)) => {
                    let message = self.numbers[&header.number];
                    let text;
                    let marked = match &self.sent[&message].progress {
                        None => {
                            text = content_of(message);
                            let content = Content::parse(text.as_bytes()).expect("it is JSON");
                            let marked = Marked::new(header, content).expect("it is flat");
                            assert!(marked.encoded_len() - text.len() <= DELIVERY_ADDED_BYTES_MAX);
                            marked
                        }
                        Some(progress) => {
                            let offset = progress.stored as u32;
                            let part = Some(Part {
                                offset,
                                ..progress.first
                            });
                            let piece = &progress.text[progress.stored..progress.end];
                            Marked::part(Header { part, ..header }, piece)
                        }
                    };
                    match self.keeps {
                        Keeps::Disk => {
                            let app = AppId::parse(CONTROL_APP).expect("an identifier");
                            marked.encode_downlink(&app, &mut buffer)
                        }
                        Keeps::Memory | Keeps::Journal => marked.encode_uplink(&mut buffer),
                    }
                    .expect("it fits")
                }
            };
            if self.link {
                around.way.send(around.now_ms, frame, around.random);
            }
        }
    }
}
