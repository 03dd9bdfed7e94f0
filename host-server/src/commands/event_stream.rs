//! Reads server-sent events (WHATWG HTML, section 9.2) as far as our server sends them: `event`,
//! `id`, `data` and comments.

use vinbus_protocol::limits::DELIVERY_LONG_BYTES_MAX;

/// A line or an event longer than this ends the stream: no message is as large. The longest content, and
/// as much around it as there may be many times over.
const EVENT_BYTES_MAX: usize = DELIVERY_LONG_BYTES_MAX + 16 * 1024;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// Its type, empty for a message.
    pub(super) kind: String,
    /// Its id: where to resume after it.
    pub(super) id: Option<String>,
    /// Its data; `None` where it only moves the id.
    pub(super) data: Option<Vec<u8>>,
}

/// A line or an event is longer than any of ours.
#[derive(Debug, thiserror::Error)]
#[error("an event is longer than {EVENT_BYTES_MAX} bytes")]
pub(super) struct EventTooLong;

/// Takes the bytes of a stream in any pieces and finds the events.
#[derive(Debug, Default)]
pub(super) struct EventStream {
    line: Vec<u8>,
    event: Event,
}

impl EventStream {
    /// Takes the next bytes, and hands the events that they complete to `found`.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        mut found: impl FnMut(Event),
    ) -> Result<(), EventTooLong> {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.line.extend_from_slice(piece);
            let held = self.line.len() + self.event.data.as_ref().map_or(0, Vec::len);
            if held > EVENT_BYTES_MAX {
                return Err(EventTooLong);
            }
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                let line = line.strip_suffix(b"\n").unwrap_or(&line);
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                if line.is_empty() {
                    found(std::mem::take(&mut self.event));
                } else {
                    self.take_field(line);
                }
            }
        }
        Ok(())
    }

    fn take_field(&mut self, line: &[u8]) {
        let colon = line
            .iter()
            .position(|&byte| byte == b':')
            .unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"event" => self.event.kind = String::from_utf8_lossy(value).into_owned(),
            b"id" => self.event.id = Some(String::from_utf8_lossy(value).into_owned()),
            b"data" => match &mut self.event.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                none => *none = Some(value.to_vec()),
            },
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_in_pieces_of_any_size() {
        let stream = b": hello\nid: 5\n\nevent: lost\nid: 6\ndata: {\ndata: }\n\nid: 7\r\ndata:x\r\n\r\nid: 8\n";
        let event = |kind: &str, id: &str, data: Option<&str>| Event {
            kind: kind.to_owned(),
            id: Some(id.to_owned()),
            data: data.map(|data| data.as_bytes().to_vec()),
        };
        let expected = [
            event("", "5", None),
            event("lost", "6", Some("{\n}")),
            event("", "7", Some("x")),
        ];
        for size in 1..stream.len() {
            let mut events = EventStream::default();
            let mut found = Vec::new();
            for piece in stream.chunks(size) {
                events.push(piece, |event| found.push(event)).unwrap();
            }
            assert_eq!(found, expected, "pieces of {size}");
        }
    }

    #[test]
    fn longest_message_that_came_in_parts_is_one_event() {
        let content = "x".repeat(DELIVERY_LONG_BYTES_MAX - 2);
        let object = format!("{{\"cursor\":\"7\",\"content\":\"{content}\"}}");
        let stream = format!("id: 7\ndata: {object}\n\n");
        let (mut events, mut found) = (EventStream::default(), Vec::new());
        for piece in stream.as_bytes().chunks(16 * 1024) {
            events.push(piece, |event| found.push(event)).unwrap();
        }
        let data: Vec<_> = found.into_iter().map(|event| event.data).collect();
        assert!(data == [Some(object.into_bytes())]);
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut events = EventStream::default();
        let piece = vec![b'x'; 64 * 1024];
        assert!((0..64).any(|_| events.push(&piece, |_| {}).is_err()));
    }
}
