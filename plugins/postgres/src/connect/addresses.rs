use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::settings::Host;

/// A host may resolve to many; nobody waits for all of them.
const ADDRESSES_MAX: usize = 16;

/// Where to connect to.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// The addresses of a host, in the order of the name service.
pub(super) async fn addresses(host: &Host) -> io::Result<Vec<Address>> {
    if host.is_socket() {
        return Ok(vec![Address::Unix(PathBuf::from(host.to_string()))]);
    }
    let found = tokio::net::lookup_host((host.name.as_str(), host.port)).await?;
    Ok(found.take(ADDRESSES_MAX).map(Address::Tcp).collect())
}
