//! Prints what delivery costs: time where a fifth of all is lost, bytes, memory. `cargo xtask bench
//! delivery` runs it.

#[path = "../tests/delivery_pair/mod.rs"]
mod delivery_pair;

use delivery_pair::{
    End, MESSAGES, epoch, lossy_transfers, receipts_of_whole_transfer, whole_transfer,
};
use vinbus_protocol::delivery::{Header, Marked};
use vinbus_protocol::envelope::Content;
use vinbus_protocol::limits::{DELIVERY_ADDED_BYTES_MAX, DELIVERY_EPOCH_MAX, DELIVERY_TTL_S_MAX};

fn main() {
    let (whole, mut lossy) = (whole_transfer(), lossy_transfers());
    lossy.sort_unstable();
    let [median, longest] = [lossy[lossy.len() / 2], lossy[lossy.len() - 1]];
    let ratio = |ms: u64| ms as f64 / whole as f64;
    println!(
        "\n{MESSAGES} messages each way, a fifth of all frames lost, {} patterns, in simulated time:",
        lossy.len()
    );
    println!("\n| losses | ms | of none | goal |\n|:-------|---:|--------:|-----:|");
    println!("| none | {whole} | 1.00 | - |");
    println!("| a fifth, median | {median} | {:.2} | 3 |", ratio(median));
    println!(
        "| a fifth, longest | {longest} | {:.2} | 3 |",
        ratio(longest)
    );

    println!("\n| what | bytes | goal |\n|:-----|------:|-----:|");
    println!(
        "| added to the 42nd message, with an hour | {} | 64 |",
        added(42, 3_600)
    );
    let most = added(u32::MAX, DELIVERY_TTL_S_MAX);
    println!("| added at most | {most} | {DELIVERY_ADDED_BYTES_MAX} |");
    let (frames, bytes) = receipts_of_whole_transfer();
    let of_each = |sum: usize| sum as f64 / (2 * MESSAGES) as f64;
    println!(
        "| receipts and their acknowledgements for each message, without losses, in {:.2} payloads | {:.1} | - |",
        of_each(frames),
        of_each(bytes)
    );
    println!("| memory of one end | {} | 6400 |", size_of::<End>());
}

/// Most bytes that a message of any form grows by under this header.
fn added(number: u32, ttl_s: u32) -> usize {
    // In seconds since 2020 they have nine digits from 2023 on.
    let epoch = epoch(DELIVERY_EPOCH_MAX);
    let header = Header {
        epoch,
        peer: epoch,
        number,
        ttl_s,
        part: None,
    };
    let added = ["{}", r#"{"a":1}"#, r#"{"content":1}"#, "1"].map(|text| {
        let content = Content::parse(text.as_bytes()).expect("it is JSON");
        let marked = Marked::new(header, content).expect("it is flat");
        marked.encoded_len() - text.len()
    });
    added.into_iter().max().unwrap_or_default()
}
