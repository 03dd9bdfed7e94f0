use super::*;

use std::vec;
use std::vec::Vec as Heap;

use core::net::Ipv4Addr;

use vinbus_protocol::checksum::crc32;
use vinbus_protocol::topic::TopicProfile;

use crate::app_page::AppTitle;
use crate::page_url::PageUrl;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

fn fixed(dns_servers: &[Ipv4Addr]) -> StaticAddress {
    let address = Ipv4Addr::new(10, 0, 2, 15);
    StaticAddress::new(address, 24, Some(GATEWAY), dns_servers).unwrap()
}

/// A page of the app `other`.
const URL: &str = "http://other.localhost:8091/";

fn page(title: Option<&'static str>) -> AppPage<'static> {
    AppPage {
        url: PageUrl::parse(URL).unwrap(),
        title: title.map(|title| AppTitle::parse(title).unwrap()),
    }
}

fn pages(first: [Option<AppPage<'_>>; 2]) -> [Option<AppPage<'_>>; APPS_MAX] {
    let mut pages = [None; APPS_MAX];
    pages[..2].copy_from_slice(&first);
    pages
}

fn full() -> Provisioned<'static> {
    let app = |app, uid| (AppId::parse(app).unwrap(), Uid::parse(uid).unwrap());
    Provisioned {
        vin: Vin::parse("0123456789ABCDEFG").unwrap(),
        apps: Vec::from_slice(&[app("demo", "demo-partner"), app("other", "partner-2")]).unwrap(),
        pages: pages([None, Some(page(Some("Another app")))]),
        scheme: TopicScheme::new("a/b", TopicProfile::Sample).unwrap(),
        subtree: true,
        broker: Broker {
            host: "broker.example",
            port: 8886,
        },
        tls: Some(Tls {
            authority: b"authority",
            certificate: b"certificate",
            key: b"key",
        }),
        login: Some(Login {
            user_name: "somebody",
            password: b"secret word",
        }),
        network: Network::Static(fixed(&[])),
        time_server: Some(TimeServer {
            host: "time.example",
            port: 1123,
        }),
    }
}

fn encoded(provisioned: &Provisioned<'_>) -> Heap<u8> {
    let mut block = vec![0xA5; BLOCK_BYTES_MAX];
    let len = provisioned.encode(&mut block).unwrap();
    block.truncate(len);
    block
}

/// A block with this body and the right checksum.
fn block_of(body: &[u8]) -> Heap<u8> {
    block_of_version(VERSION, body)
}

fn block_of_version(version: u32, body: &[u8]) -> Heap<u8> {
    let mut block = MAGIC.to_vec();
    block.extend(version.to_le_bytes());
    block.extend((body.len() as u32).to_le_bytes());
    block.extend(crc32(body).to_le_bytes());
    block.extend(body);
    block
}

fn refused(memory: &[u8]) -> ProvisionedError {
    Provisioned::decode(memory).unwrap_err()
}

#[test]
fn what_was_written_is_read() {
    let written = full();
    let mut memory = encoded(&written);
    memory.extend([0xFF; 100]);
    let read = Provisioned::decode(&memory).unwrap();
    assert_eq!(std::format!("{read:?}"), std::format!("{written:?}"));
    assert_eq!((read.tls, read.login), (written.tls, written.login));
    assert_eq!(read.pages, written.pages);
}

#[test]
fn block_without_pages_or_titles_is_one_that_older_firmware_reads() {
    let check = |page, version: u32| {
        let block = Provisioned {
            pages: pages([None, page]),
            ..full()
        };
        let bytes = encoded(&block);
        assert_eq!(bytes[8..12], version.to_le_bytes());
        assert_eq!(Provisioned::decode(&bytes).unwrap().pages, block.pages);
        bytes
    };
    check(None, OLDEST_VERSION);
    // What such firmware takes for the address has nothing else in it.
    let bytes = check(Some(page(None)), VERSION_WITHOUT_TITLES);
    let field = [
        &[Field::AppUrl as u8, 34, 0, 5],
        &b"other"[..],
        URL.as_bytes(),
    ]
    .concat();
    assert!(bytes.windows(field.len()).any(|bytes| bytes == field));
    check(Some(page(Some("Another app"))), VERSION);
}

#[test]
fn address_of_pages_is_of_an_app_that_is_there_and_comes_once() {
    let body = &encoded(&full())[HEADER_BYTES..];
    let refused_with = |value: &[u8]| {
        let mut body = body.to_vec();
        body.extend([Field::AppUrl as u8, value.len() as u8, 0]);
        body.extend(value);
        assert_eq!(
            refused(&block_of(&body)),
            ProvisionedError::Field(Field::AppUrl)
        );
    };
    refused_with(b"\x05otherhttp://a/");
    refused_with(b"\x07nobodyhttp://a/");
    refused_with(b"\x04demojavascript:alert(1)");
    refused_with(b"\x04demo");
    refused_with(b"\x04demohttp://a/ ");
    refused_with(b"\x04demohttp://a/  x");
    refused_with(b"\x04demohttp://a/ \xFF");
    refused_with(b"");
}

#[test]
fn least_block_has_neither_tls_nor_login_nor_address() {
    let least = Provisioned {
        subtree: false,
        tls: None,
        login: None,
        network: Network::Dhcp,
        time_server: None,
        ..full()
    };
    let memory = encoded(&least);
    let read = Provisioned::decode(&memory).unwrap();
    assert!(!read.subtree && read.tls.is_none() && read.login.is_none());
    assert_eq!((read.network, read.time_server), (Network::Dhcp, None));
}

#[test]
fn time_server_has_the_usual_port_where_none_is_named() {
    let server = |host, port| Some(TimeServer { host, port });
    assert_eq!(TimeServer::parse("10.0.2.2"), server("10.0.2.2", 123));
    assert_eq!(TimeServer::parse("t.example:99"), server("t.example", 99));
    for wrong in ["", ":123", "h:", "h:0", "h:65536", "h:1:2", "fe80::1"] {
        assert_eq!(TimeServer::parse(wrong), None, "{wrong}");
    }
    let usual = Provisioned {
        time_server: server("time.example", 123),
        ..full()
    };
    let memory = encoded(&usual);
    assert!(memory.ends_with(b"time.example"));
    let read = Provisioned::decode(&memory).unwrap();
    assert_eq!(read.time_server, usual.time_server);
}

#[test]
fn secrets_are_not_in_debug() {
    let text = std::format!("{:?}", full());
    assert!(!text.contains("secret word"), "{text}");
    assert!(!text.contains("key: "), "{text}");
}

#[test]
fn erased_memory_holds_no_block() {
    assert_eq!(refused(&[]), ProvisionedError::Missing);
    assert_eq!(refused(&[0x00; 64]), ProvisionedError::Missing);
    assert_eq!(refused(&[0xFF; 64]), ProvisionedError::Missing);
    for other in ["#!/bin/sh and so on, which is no block", "#!/bin/sh"] {
        assert_eq!(refused(other.as_bytes()), ProvisionedError::Foreign);
    }
}

#[test]
fn newer_and_older_blocks_are_told_from_damaged_ones_and_from_each_other() {
    let mut memory = encoded(&full());
    let mut check = |version: u32, expected, advice| {
        memory[8..12].copy_from_slice(&version.to_le_bytes());
        let error = refused(&memory);
        assert_eq!(error, expected);
        let said = std::format!("{error}");
        assert!(said.contains(advice), "{said}");
    };
    let (older, newer) = (OLDEST_VERSION - 1, VERSION + 1);
    let update = "update the firmware";
    check(newer, ProvisionedError::Newer { version: newer }, update);
    check(
        older,
        ProvisionedError::Older { version: older },
        "write it again",
    );
}

#[test]
fn address_that_no_board_could_use_is_refused_with_the_reason() {
    let of = |value: [u8; 13]| {
        let least = Provisioned {
            network: Network::Dhcp,
            ..full()
        };
        let mut body = encoded(&least)[HEADER_BYTES..].to_vec();
        body.extend([Field::StaticAddress as u8, 13, 0]);
        body.extend(value);
        std::format!("{}", refused(&block_of(&body)))
    };
    for (value, reason) in [
        ([10, 0, 2, 15, 33, 0, 0, 0, 0, 0, 0, 0, 0], "not 33"),
        ([0, 0, 0, 0, 24, 10, 0, 2, 2, 0, 0, 0, 0], "0.0.0.0 is not"),
        (
            [10, 0, 2, 0, 24, 10, 0, 2, 2, 0, 0, 0, 0],
            "10.0.2.0 is not",
        ),
        ([10, 0, 2, 15, 24, 224, 0, 0, 1, 0, 0, 0, 0], "224.0.0.1 is"),
        ([10, 0, 2, 15, 24, 0, 0, 0, 0, 127, 0, 0, 1], "127.0.0.1 is"),
    ] {
        let said = of(value);
        assert!(said.contains(reason), "{said}");
    }
}

#[test]
fn dns_server_for_which_a_block_has_no_room_is_not_left_out() {
    let with = |dns_servers: &[Ipv4Addr]| Provisioned {
        network: Network::Static(fixed(dns_servers)),
        ..full()
    };
    let one = with(&[GATEWAY]);
    let memory = encoded(&one);
    let read = Provisioned::decode(&memory).unwrap();
    assert_eq!(read.network, one.network);
    let two = with(&[GATEWAY; 2]).encode(&mut [0; BLOCK_BYTES_MAX]);
    assert_eq!(two, Err(NoRoom));
}

#[test]
fn block_that_is_cut_off_anywhere_is_refused() {
    let memory = encoded(&full());
    for len in 1..memory.len() {
        assert!(
            matches!(refused(&memory[..len]), ProvisionedError::Truncated { .. }),
            "{len}"
        );
    }
}

#[test]
fn every_bit_that_flips_is_noticed() {
    let memory = encoded(&full());
    for at in 0..memory.len() {
        for bit in 0..8 {
            let mut memory = memory.clone();
            memory[at] ^= 1 << bit;
            assert!(
                Provisioned::decode(&memory).is_err(),
                "bit {bit} of byte {at}"
            );
        }
    }
}

#[test]
fn block_without_room_is_not_written() {
    let len = encoded(&full()).len();
    for room in 0..len {
        assert_eq!(full().encode(&mut vec![0; room]), Err(NoRoom), "{room}");
    }
}

#[test]
fn each_field_that_cannot_be_left_out_is_asked_for() {
    let whole = encoded(&full());
    let mut rest = &whole[HEADER_BYTES..];
    let mut fields = Heap::new();
    while let Some((&[tag, low, high], _)) = rest.split_first_chunk() {
        let (field, after) = rest.split_at(3 + usize::from(u16::from_le_bytes([low, high])));
        fields.push((tag, field));
        rest = after;
    }
    for left_out in Field::ALL {
        let body: Heap<u8> = fields
            .iter()
            .filter(|(tag, _)| *tag != left_out as u8)
            .flat_map(|(_, field)| field.iter().copied())
            .collect();
        let needed = !matches!(
            left_out,
            Field::Subtree | Field::StaticAddress | Field::TimeServer | Field::AppUrl
        );
        let version = match left_out {
            Field::AppUrl => OLDEST_VERSION,
            _ => VERSION,
        };
        let memory = block_of_version(version, &body);
        let read = Provisioned::decode(&memory);
        if needed {
            // An address of pages whose app is not there is found first.
            let missing = match left_out {
                Field::App => Field::AppUrl,
                field => field,
            };
            assert_eq!(read.unwrap_err(), ProvisionedError::Field(missing));
        } else {
            assert!(read.is_ok(), "{left_out}");
        }
    }
    // A field twice, an app included: its name says which messages it gets.
    for (tag, field) in &fields {
        let body = [&whole[HEADER_BYTES..], field].concat();
        let field = Field::of(*tag).unwrap();
        let memory = block_of(&body);
        let read = Provisioned::decode(&memory);
        assert_eq!(read.unwrap_err(), ProvisionedError::Field(field));
    }
}

#[test]
fn wrong_values_are_refused_by_their_field() {
    let whole = encoded(&full());
    let refused = |field: Field, value: &[u8]| {
        let mut body = std::vec![field as u8];
        body.extend((value.len() as u16).to_le_bytes());
        body.extend(value);
        body.extend(&whole[HEADER_BYTES..]);
        refused(&block_of(&body))
    };
    for (field, value) in [
        (Field::Vin, &b"0123456789ABCDEF/"[..]),
        (Field::App, b"\x05demo"),
        (Field::App, b"\x04demoa/b"),
        (Field::App, b""),
        (Field::Scheme, b"\x02a"),
        (Field::Scheme, b"\x00/a"),
        (Field::Broker, b"\x01"),
        (Field::Broker, b"\x01\x02"),
        (Field::Broker, b"\x01\x02\xFF"),
        (Field::StaticAddress, &[10, 0, 2, 15]),
        (Field::TimeServer, b""),
    ] {
        assert_eq!(
            refused(field, value),
            ProvisionedError::Field(field),
            "{value:?}"
        );
    }
    let memory = block_of(&[200, 0, 0]);
    assert_eq!(
        Provisioned::decode(&memory).unwrap_err(),
        ProvisionedError::UnknownField { tag: 200 }
    );
    assert_eq!(
        Provisioned::decode(&block_of(&[1, 0])).unwrap_err(),
        ProvisionedError::Damaged
    );
}
