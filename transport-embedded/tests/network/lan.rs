//! The network stack of a board: names, the time, and connections that end in order.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use embassy_net::tcp::{State, TcpSocket};
use embassy_time::Duration;
use embedded_io_async::{Read, Write};
use embedded_nal_async::{Dns, TcpConnect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use vinbus_transport_embedded::dial::{self, Broker, DialError, TimeLimits};
use vinbus_transport_embedded::net::{ResolveError, Resolver, Tcp, TcpError};
use vinbus_transport_embedded::sntp;

use crate::support::lan::{GATEWAY, NAME, PORT, leaked, udp, with_both, with_dhcp, with_lan};
use crate::support::{PATIENCE, unix_time};

fn buffer() -> &'static mut [u8] {
    leaked::<8192>()
}

/// A peer that gives back what it gets, and tells when a client has said goodbye in order.
async fn echo() -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<bool>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (told, goodbyes) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            let polite = loop {
                match stream.read(&mut buffer).await {
                    Ok(0) => break true,
                    Ok(len) => stream.write_all(&buffer[..len]).await.unwrap(),
                    Err(_) => break false,
                }
            };
            let _nobody_asks = told.send(polite);
        }
    });
    (address, goodbyes)
}

fn broker(host: &str, port: u16) -> Broker<'_> {
    Broker { host, port }
}

#[tokio::test]
async fn connections_come_and_go_in_order_over_one_socket() {
    let (address, mut goodbyes) = echo().await;
    let test = with_lan(address, async |stack| {
        let (tcp, dns) = (Tcp::new(stack, buffer(), buffer()), Resolver::new(stack));
        for host in [NAME, "10.0.0.1", NAME, NAME] {
            let limits = TimeLimits::default();
            let stream = dial::open(&tcp, &dns, broker(host, PORT), limits).await;
            let mut stream = stream.unwrap();
            let again = tcp.connect(SocketAddr::from((GATEWAY, PORT))).await;
            assert_eq!(again.err(), Some(TcpError::InUse));
            let sent = [7; 5000];
            stream.write_all(&sent).await.unwrap();
            stream.flush().await.unwrap();
            let mut back = [0; 5000];
            stream.read_exact(&mut back).await.unwrap();
            assert_eq!(back, sent);
            drop(stream);
            assert_eq!(goodbyes.recv().await, Some(true));
        }
    });
    tokio::time::timeout(PATIENCE, test).await.unwrap();
}

#[tokio::test]
async fn bytes_that_are_written_before_the_drop_arrive() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let test = with_lan(listener.local_addr().unwrap(), async |stack| {
        let tcp = Tcp::new(stack, buffer(), buffer());
        let mut stream = tcp
            .connect(SocketAddr::from((GATEWAY, PORT)))
            .await
            .unwrap();
        stream.write_all(&[7; 8000]).await.unwrap();
        drop(stream);
        let (mut far, _) = listener.accept().await.unwrap();
        let mut came = Vec::new();
        far.read_to_end(&mut came).await.unwrap();
        assert_eq!(came, [7; 8000]);
    });
    tokio::time::timeout(PATIENCE, test).await.unwrap();
}

#[tokio::test]
async fn peer_that_reads_nothing_is_told_that_its_connection_is_cut_off() {
    let test = with_both(async |gateway, board| {
        let accept = async || {
            let mut socket = TcpSocket::new(gateway, leaked::<64>(), leaked::<64>());
            socket.accept(PORT).await.unwrap();
            socket
        };
        let tcp = Tcp::new(board, buffer(), buffer());
        let dial = || tcp.connect(SocketAddr::from((GATEWAY, PORT)));
        let (deaf, stream) = tokio::join!(accept(), dial());
        let mut stream = stream.unwrap();
        stream.write_all(&[7; 8000]).await.unwrap();
        drop(stream);
        let (_next, stream) = tokio::join!(accept(), dial());
        assert!(stream.is_ok());
        // What was sent first came first.
        assert_eq!(deaf.state(), State::Closed);
    });
    tokio::time::timeout(PATIENCE, test).await.unwrap();
}

#[tokio::test]
async fn network_errors_are_told_apart() {
    let (address, _goodbyes) = echo().await;
    let test = with_lan(address, async |stack| {
        let (tcp, dns) = (Tcp::new(stack, buffer(), buffer()), Resolver::new(stack));
        let limits = TimeLimits {
            connect: Duration::from_millis(300),
            ..TimeLimits::default()
        };
        for (broker, expected) in [
            (broker("other.test", PORT), DialError::HostNotFound),
            (broker("no name", PORT), DialError::HostNotFound),
            (broker(NAME, 1), DialError::Refused),
            (broker("10.0.0.9", PORT), DialError::ConnectTimeout),
        ] {
            let opened = dial::open(&tcp, &dns, broker, limits).await;
            assert_eq!(opened.err(), Some(expected), "{broker:?}");
        }
        let ipv6 = SocketAddr::from((Ipv6Addr::LOCALHOST, PORT));
        assert_eq!(tcp.connect(ipv6).await.err(), Some(TcpError::NoIpv6));
        let nameless = dns
            .get_host_by_address(IpAddr::from(GATEWAY), &mut [])
            .await;
        assert_eq!(nameless, Err(ResolveError::Unsupported));
        // And after all of it the socket still works, once the stack looks for hosts again.
        let limits = TimeLimits::default();
        let opened = dial::open(&tcp, &dns, broker(NAME, PORT), limits).await;
        assert_eq!(opened.err(), None);
    });
    tokio::time::timeout(PATIENCE, test).await.unwrap();
}

#[tokio::test]
async fn board_without_an_address_tells_so_and_asks_again_until_somebody_answers() {
    let (address, _goodbyes) = echo().await;
    let test = with_dhcp(address, 1, async |stack| {
        let (tcp, dns) = (Tcp::new(stack, buffer(), buffer()), Resolver::new(stack));
        let soon = Duration::from_millis(50);
        let impatient = TimeLimits {
            connect: soon,
            ..TimeLimits::default()
        };
        let broker = broker("10.0.0.1", PORT);
        let early = dial::open(&tcp, &dns, broker, impatient).await.err();
        assert!(
            matches!(
                early,
                Some(DialError::Unreachable(_) | DialError::ConnectTimeout)
            ),
            "{early:?}"
        );
        let name = dial::resolve(&dns, NAME, soon).await;
        assert!(name.is_err(), "{name:?}");
        stack.wait_config_up().await;
        let dialled = dial::open(&tcp, &dns, broker, TimeLimits::default()).await;
        assert_eq!(dialled.err(), None);
    });
    tokio::time::timeout(PATIENCE, test).await.unwrap();
}

#[tokio::test]
async fn time_of_day_comes_from_the_network() {
    let (address, _goodbyes) = echo().await;
    let test = with_lan(address, async |stack| {
        let mut udp = udp(stack);
        let server = SocketAddr::from((GATEWAY, sntp::PORT));
        let nobody = SocketAddr::from(([10, 0, 0, 9], sntp::PORT));
        let limit = Duration::from_secs(2);
        let earliest = unix_time().unwrap() - 60;
        let time = sntp::ask(&mut udp, &[nobody, server], earliest, || 42, limit).await;
        let (time, now) = (time.unwrap().unix_s(), unix_time().unwrap());
        assert!(now.abs_diff(time) <= 30, "{time} at {now}");
    });
    tokio::time::timeout(PATIENCE, test).await.unwrap();
}
