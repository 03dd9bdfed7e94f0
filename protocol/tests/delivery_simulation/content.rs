//! What messages say: of every form that the reserved member is carried in, and now and then too long
//! for one frame.

/// One message in so many is long.
const LONG_EVERY: u64 = 20;

/// The longest content, in bytes.
pub(crate) const LONG_BYTES_MAX: usize = 1024;

/// The longest piece of a long content in one part, as it is written.
pub(crate) const PIECE_BYTES_MAX: usize = 250;

/// Whether a message goes in parts.
pub(crate) fn is_long(identity: u64) -> bool {
    identity.is_multiple_of(LONG_EVERY)
}

/// What a message says. All long ones have the same length, and differ in every part.
pub(crate) fn content_of(identity: u64) -> String {
    match identity % 6 {
        _ if is_long(identity) => {
            let text = format!("{identity:012}\\né").repeat(40);
            format!("{{\"id\":\"{identity:012}\",\"text\":\"{text}\"}}")
        }
        0 => format!("{{\"id\":{identity}}}"),
        1 => format!("\"{identity}\""),
        2 => format!("[{identity}]"),
        3 => format!("{{ \"content\" : {identity} }}"),
        4 => format!("{{\"vinbus\":[1,2,3,4],\"id\":{identity}}}"),
        _ => format!("{{\"id\":{identity},\"x\":\"{}\"}}", "x".repeat(2_000)),
    }
}

/// The message that says this, which must be unchanged.
pub(crate) fn identity_of(content: &str) -> u64 {
    let after = |name: &str| content.find(name).map(|at| &content[at + name.len()..]);
    let start = after("\"id\":").unwrap_or(content);
    let digits: String = start
        .chars()
        .skip_while(|c| !c.is_ascii_digit())
        .take_while(char::is_ascii_digit)
        .collect();
    let identity = digits.parse().expect("a message of the simulation");
    assert_eq!(content, content_of(identity), "its bytes are unchanged");
    identity
}
