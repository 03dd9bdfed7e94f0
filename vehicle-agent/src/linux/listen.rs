//! An address to listen at that an option names, and why there is no listening at it.

use std::io::ErrorKind;
use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::net::TcpListener;

/// Listens at the address that `option` names.
///
/// # Errors
/// When the address is taken, or none of this machine.
pub(crate) async fn listen(option: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    let why = match bound.as_ref().map_err(std::io::Error::kind) {
        Err(ErrorKind::AddrInUse) => "another program does, such as another agent; choose",
        Err(ErrorKind::AddrNotAvailable) => "this machine has no such address; choose",
        Err(ErrorKind::PermissionDenied) => "this user may not take this port; choose",
        Ok(_) | Err(_) => "choose",
    };
    bound.with_context(|| format!("cannot listen at {address}: {why} another with {option}"))
}
