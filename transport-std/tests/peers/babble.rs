//! Peers that do not speak MQTT, before and after they were taken for a broker.

use vinbus_transport_std::conformance::{connected, link_error, wait_for_link};
use vinbus_transport_std::{LinkState, connect};

use crate::VERSIONS;
use crate::peer::Peer;

const ROUNDS: u64 = 300;

/// A reproducible stream of bytes (SplitMix64).
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let words = std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let word = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    });
    words.flat_map(u64::to_le_bytes).take(len).collect()
}

#[tokio::test]
async fn noise_instead_of_a_connack_is_an_error() {
    for version in VERSIONS {
        for scheme in ["mqtt", "ws"] {
            for seed in 0..ROUNDS / 10 {
                let peer = Peer::new().await;
                let babbling = async {
                    let mut connection = peer.accept().await;
                    connection.send(&noise(seed, 200)).await;
                };
                tokio::join!(link_error(peer.options(scheme, version)), babbling);
            }
        }
    }
}

#[tokio::test]
async fn noise_after_the_connack_ends_that_connection_and_no_more() {
    for version in VERSIONS {
        let peer = Peer::new().await;
        let (client, _inbox) = connect(peer.options("mqtt", version)).expect("options");
        for seed in 0..20 {
            let mut connection = peer.welcome(version).await;
            connection.send(&noise(seed, 500)).await;
        }
        let _connection = peer.welcome(version).await;
        wait_for_link(client.link(), "the link", |state| {
            matches!(state, LinkState::Connected { .. })
        })
        .await;
    }
}

#[tokio::test]
async fn every_packet_type_with_noise_inside_leaves_the_client_alive() {
    for version in VERSIONS {
        for seed in 0..ROUNDS {
            let peer = Peer::new().await;
            let ((client, inbox), mut connection) = tokio::join!(
                connected(peer.options("mqtt", version)),
                peer.welcome(version)
            );
            let mut packet = noise(seed, 40);
            packet[0] = (seed % 16) as u8 * 16 + packet[0] % 16;
            packet[1] = 38;
            connection.send(&packet).await;
            drop(connection);
            wait_for_link(client.link(), "the end of that connection", |state| {
                matches!(state, LinkState::Down(_))
            })
            .await;
            drop(inbox);
        }
    }
}
