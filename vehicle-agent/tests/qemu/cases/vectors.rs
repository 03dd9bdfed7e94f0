//! The protocol crate on the board's processor.

use std::path::Path;

use crate::board::Board;

pub(crate) async fn golden_vectors_of_the_protocol_are_the_same_bytes_on_the_target() {
    let mut board = Board::start_image("QEMU_TEST_GOLDEN_IMAGE");
    let said = board.log.rest().await;
    assert!(board.ended().await, "{said}");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/vectors");
    for file in std::fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let same = format!("{name}: all ");
        assert!(
            !name.ends_with(".json") || said.contains(&same),
            "{name} was not compared: {said}"
        );
    }
}
