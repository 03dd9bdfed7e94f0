//! The checksum that tells damaged bytes from sound ones, and long messages from each other (SPEC
//! 16.18). It is none against forgery: whoever can send can compute it.

/// What each value of four bits does to a checksum. With one of 256 values it would be twice as fast, and
/// 1 KiB on a board.
const TABLE: [u32; 16] = {
    let mut table = [0; 16];
    let mut index = 0;
    while index < table.len() {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 4 {
            let polynomial = if crc & 1 == 1 { 0xEDB8_8320 } else { 0 };
            crc = crc >> 1 ^ polynomial;
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

/// CRC-32 as Ethernet and zlib have it.
///
/// ```
/// assert_eq!(vinbus_protocol::checksum::crc32(b"123456789"), 0xCBF4_3926);
/// ```
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    let four_bits = |crc: u32| crc >> 4 ^ TABLE[crc as usize & 15];
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        four_bits(four_bits(crc ^ u32::from(*byte)))
    });
    !crc
}
