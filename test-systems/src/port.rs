use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// A port that nobody listens on now. Somebody may take it before the server does: a server that cannot bind is started
/// again on another one.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
