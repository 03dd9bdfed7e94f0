//! Blocks that are none.

use crate::board::{Board, provision};

pub(crate) async fn board_without_a_block_says_so_and_ends() {
    let mut board = Board::start(None);
    board.log.until("there is none; write one").await;
    assert!(!board.ended().await, "that is no success");
    let said = board.log.rest().await;
    assert!(!said.contains("address"), "it went on: {said}");
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
        (changed(|bytes| bytes[8] = 2), "a newer program wrote it"),
        (changed(|bytes| bytes[8] = 0), "an older program wrote it"),
        (changed(|bytes| bytes[0] = b'v'), "no block of vinbus"),
    ] {
        std::fs::write(&block, bytes).unwrap();
        let mut board = Board::start(Some(&block));
        board.log.until(reason).await;
        assert!(!board.ended().await, "{reason}: that is no success");
    }
}
