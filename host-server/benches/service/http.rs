//! Just enough HTTP: version 1.0, whose answers come without chunks and end with the connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, ensure};

/// Sends a GET and returns the connection, at the beginning of the body of a 200.
pub(crate) fn open(address: SocketAddr, path: &str, token: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n"
    )?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).context("a head that is no text")?;
    let status = head.split(' ').nth(1);
    ensure!(status == Some("200"), "GET {path}: {head}");
    Ok(stream)
}

/// The body of a GET.
pub(crate) fn get(address: SocketAddr, path: &str, token: &str) -> Result<String> {
    let mut body = String::new();
    open(address, path, token)?.read_to_string(&mut body)?;
    Ok(body)
}

/// The body of the answer to a POST of JSON, which has to be 201.
pub(crate) fn post(address: SocketAddr, path: &str, token: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("an answer without a body")?;
    let status = head.split(' ').nth(1);
    ensure!(status == Some("201"), "POST {path}: {answer}");
    Ok(body.to_owned())
}
