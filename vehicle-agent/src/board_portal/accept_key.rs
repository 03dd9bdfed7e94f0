//! The proof in the answer to a request for a WebSocket that it was understood (RFC 6455, 4.2.2): the
//! SHA-1 of its key and a fixed text, in base64.
//!
//! SHA-1 is the protocol's choice and protects nothing here. The well-known crates unroll it, which
//! takes 3 KB of a board's flash; this one takes a tenth of that (RFC 3174, method 1).

use base64ct::{Base64, Encoding as _};

const WEBSOCKET: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Characters of a request's key: 16 bytes in base64.
pub(super) const KEY_LEN: usize = 24;

const BLOCK_BYTES: usize = 64;

/// What was hashed, with its end mark and length in bits: two blocks.
const PADDED_BYTES: usize = 2 * BLOCK_BYTES;
const _: () = assert!(KEY_LEN + WEBSOCKET.len() < PADDED_BYTES - 8);

/// 20 bytes in base64.
pub(super) type AcceptKey = heapless::String<28>;

/// The answer to a key.
pub(super) fn accept_key(key: &[u8; KEY_LEN]) -> AcceptKey {
    let mut padded = [0; PADDED_BYTES];
    let len = KEY_LEN + WEBSOCKET.len();
    padded[..KEY_LEN].copy_from_slice(key);
    padded[KEY_LEN..len].copy_from_slice(WEBSOCKET);
    padded[len] = 0x80;
    padded[PADDED_BYTES - 8..].copy_from_slice(&(8 * len as u64).to_be_bytes());
    let mut base64 = [0; 28];
    let text = Base64::encode(&sha1(&padded), &mut base64);
    text.ok()
        .and_then(|text| text.try_into().ok())
        .unwrap_or_default()
}

/// The SHA-1 of whole blocks.
fn sha1(padded: &[u8]) -> [u8; 20] {
    let mut state = [
        0x6745_2301,
        0xEFCD_AB89,
        0x98BA_DCFE,
        0x1032_5476,
        0xC3D2_E1F0,
    ];
    let (blocks, _) = padded.as_chunks::<BLOCK_BYTES>();
    for block in blocks {
        add_block(&mut state, block);
    }
    let mut digest = [0; 20];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

fn add_block(state: &mut [u32; 5], block: &[u8; BLOCK_BYTES]) {
    let mut words = [0; 80];
    let (chunks, _) = block.as_chunks::<4>();
    for (word, bytes) in words.iter_mut().zip(chunks) {
        *word = u32::from_be_bytes(*bytes);
    }
    for at in 16..words.len() {
        let word: u32 = words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16];
        words[at] = word.rotate_left(1);
    }
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    for (round, word) in words.iter().enumerate() {
        let (mixed, constant) = match round {
            0..20 => ((b & c) | (!b & d), 0x5A82_7999),
            20..40 => (b ^ c ^ d, 0x6ED9_EBA1),
            40..60 => ((b & c) | (b & d) | (c & d), 0x8F1B_BCDC),
            _ => (b ^ c ^ d, 0xCA62_C1D6_u32),
        };
        let sum = a.rotate_left(5).wrapping_add(mixed).wrapping_add(e);
        let next = sum.wrapping_add(*word).wrapping_add(constant);
        (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
    }
    for (word, more) in state.iter_mut().zip([a, b, c, d, e]) {
        *word = word.wrapping_add(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

    #[test]
    fn key_of_the_specification_is_answered_as_it_says() {
        let accept = accept_key(b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn every_key_is_answered_as_a_client_expects() {
        for seed in 0..=u8::MAX {
            let key = core::array::from_fn(|at| seed.wrapping_mul(31).wrapping_add(at as u8 * 7));
            let accept = accept_key(&key);
            assert_eq!(accept.as_str(), derive_accept_key(&key), "{key:?}");
        }
    }
}
