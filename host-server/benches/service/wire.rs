//! The few MQTT 3.1.1 packets that a publisher needs, written straight into a buffer: whoever loads
//! a broker must not be slower than it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, ensure};

/// Who a publisher is.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: String,
}

/// Connects a client; the broker has welcomed it.
pub(crate) fn connect(
    address: SocketAddr,
    client: &str,
    login: Option<&Login>,
) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut body = Vec::new();
    push_string(&mut body, "MQTT");
    let flags = if login.is_some() { 0xc2 } else { 0x02 };
    body.extend([4, flags, 0, 0]);
    push_string(&mut body, client);
    if let Some(Login { user, password }) = login {
        push_string(&mut body, user);
        push_string(&mut body, password);
    }
    stream.write_all(&packet(0x10, &body))?;
    let mut welcome = [0; 4];
    stream
        .read_exact(&mut welcome)
        .context("the broker closed the connection of a publisher")?;
    ensure!(
        welcome[3] == 0,
        "the broker refused a publisher: {welcome:?}"
    );
    Ok(stream)
}

/// A SUBSCRIBE packet for one filter.
pub(crate) fn subscribe(filter: &str, qos: u8) -> Vec<u8> {
    let mut body = vec![0, 1];
    push_string(&mut body, filter);
    body.push(qos);
    packet(0x82, &body)
}

/// A PUBLISH packet with places for its identifier and for a number of its payload.
#[derive(Clone, Debug)]
pub(crate) struct Publish {
    packet: Vec<u8>,
    identifier: Option<usize>,
    number: usize,
}

impl Publish {
    /// The packet for `payload`, in which `number` tells where the digits of the number are.
    pub(crate) fn new(topic: &str, payload: &[u8], number: usize, qos: u8) -> Self {
        let mut body = Vec::new();
        push_string(&mut body, topic);
        let identifier = (qos > 0).then(|| {
            body.extend([0, 0]);
            body.len() - 2
        });
        let begin = body.len();
        body.extend_from_slice(payload);
        let packet = packet(0x30 | qos << 1, &body);
        let head = packet.len() - body.len();
        Self {
            packet,
            identifier: identifier.map(|at| head + at),
            number: head + begin + number,
        }
    }

    /// Appends the packet with `number` in its payload, which gives its identifier too.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, number: u64) {
        if let Some(at) = self.identifier {
            let identifier = (number % u64::from(u16::MAX)) as u16 + 1;
            self.packet[at..at + 2].copy_from_slice(&identifier.to_be_bytes());
        }
        let digits = &mut self.packet[self.number..self.number + NUMBER_DIGITS];
        let mut rest = number;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        out.extend_from_slice(&self.packet);
    }
}

/// Digits of a number in a payload.
pub(crate) const NUMBER_DIGITS: usize = 10;

fn push_string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut rest = body.len();
    loop {
        let more = if rest > 127 { 0x80 } else { 0 };
        packet.push((rest & 0x7f) as u8 | more);
        rest >>= 7;
        if rest == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}
