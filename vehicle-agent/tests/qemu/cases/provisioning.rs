//! Blocks that are none, or that no vehicle can be of.

use std::path::Path;

use vinbus_transport_std::conformance::{Authority, Validity};
use vinbus_vehicle_agent::provisioned::{BLOCK_BYTES_MAX, Provisioned, Tls};

use crate::board::{Board, HOST, provision};
use crate::gate::Gate;

pub(crate) async fn board_without_a_block_says_so_and_ends() {
    let mut board = Board::start(None);
    board.log.until("there is none; write one").await;
    assert!(!board.ended().await, "that is no success");
    let said = board.log.rest().await;
    assert!(!said.contains("address"), "it went on: {said}");
}

pub(crate) async fn board_with_the_key_of_another_vehicle_says_so_and_ends() {
    let ours = Authority::new("ours");
    let gate = Gate::open(&ours.server(HOST, Validity::Now), &[], &ours).await;
    let (folder, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let block = gate.block(folder.path(), &ours).await;
    let other = std::fs::read(gate.block(others.path(), &ours).await).unwrap();
    give_key(
        &block,
        Provisioned::decode(&other).unwrap().tls.unwrap().key,
    );
    let mut board = Board::start(Some(&block));
    let said = board.log.until("credentials cannot be used").await;
    assert!(
        said.contains("does not belong to its certificate"),
        "{said}"
    );
    assert!(!board.ended().await, "that is no success");
    let said = board.log.rest().await;
    assert!(!said.contains("connect"), "it went on: {said}");
}

/// Puts another key into a block; `vehicle-agent provision` would refuse it.
fn give_key(block: &Path, key: &[u8]) {
    let bytes = std::fs::read(block).unwrap();
    let mut provisioned = Provisioned::decode(&bytes).unwrap();
    provisioned.tls = provisioned.tls.map(|tls| Tls { key, ..tls });
    let mut changed = vec![0; BLOCK_BYTES_MAX];
    let len = provisioned.encode(&mut changed).unwrap();
    std::fs::write(block, &changed[..len]).unwrap();
}

pub(crate) async fn board_refuses_blocks_that_are_damaged_cut_off_newer_older_or_foreign() {
    let folder = tempfile::tempdir().unwrap();
    let block = provision(folder.path(), "mqtt://10.0.2.2:1883", &[]).await;
    let whole = std::fs::read(&block).unwrap();
    let changed = |change: fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        bytes
    };
    for (bytes, reason) in [
        (changed(|bytes| bytes[40] ^= 1), "it is damaged"),
        (changed(|bytes| bytes.truncate(60)), "it is damaged"),
        (changed(|bytes| bytes[14] = 1), "it is cut off"),
        (
            changed(|bytes| bytes[8] = u8::MAX),
            "a newer program wrote it",
        ),
        (changed(|bytes| bytes[8] = 0), "an older program wrote it"),
        (changed(|bytes| bytes[0] = b'v'), "no block of vinbus"),
    ] {
        std::fs::write(&block, bytes).unwrap();
        let mut board = Board::start(Some(&block));
        board.log.until(reason).await;
        assert!(!board.ended().await, "{reason}: that is no success");
    }
}
