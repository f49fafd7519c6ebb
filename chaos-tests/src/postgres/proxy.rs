//! A TCP proxy inside the test: what goes through it can be delayed, dropped, and cut between a COMMIT and its reply.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// The server's reply to a COMMIT: `CommandComplete` with its tag.
const COMMITTED: &[u8] = b"C\0\0\0\x0bCOMMIT\0";

/// A listener on the loopback that passes everything on to one port.
pub struct Proxy {
    port: u16,
    ways: Arc<Ways>,
}

#[derive(Default)]
struct Ways {
    delay_ms: AtomicU64,
    refuses: AtomicBool,
    cut_after_commit: AtomicBool,
    cuts: AtomicU32,
    open: Mutex<Vec<TcpStream>>,
    is_over: AtomicBool,
}

impl Proxy {
    /// Listens before the server at `server`, a port of the loopback.
    pub fn before(server: u16) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let ways = Arc::new(Ways::default());
        let shared = ways.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.is_over.load(Ordering::Relaxed) {
                    return;
                }
                // A failure is seen by the client: its connection ends.
                let _ = shared.pass_on(client, server);
            }
        });
        Ok(Proxy { port, ways })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Holds back everything that comes from the server for so long; `ZERO` for not at all.
    pub fn delay(&self, by: Duration) {
        self.ways.delay_ms.store(by.as_millis() as u64, Ordering::Relaxed);
    }

    /// Ends every connection at once; how many there were.
    pub fn drop_all(&self) -> usize {
        let mut open = self.ways.open.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = open.drain(..).filter(|stream| stream.shutdown(Shutdown::Both).is_ok());
        // Both halves of each connection are listed.
        ended.count().div_ceil(2)
    }

    /// Whether new connections are ended at once.
    pub fn refuse(&self, refuses: bool) {
        self.ways.refuses.store(refuses, Ordering::Relaxed);
    }

    /// Ends the next connection on which the server replies to a COMMIT, in place of the reply.
    pub fn cut_after_commit(&self) {
        self.ways.cut_after_commit.store(true, Ordering::Relaxed);
    }

    /// How many connections were cut so.
    pub fn cuts(&self) -> u32 {
        self.ways.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ways.is_over.store(true, Ordering::Relaxed);
        self.drop_all();
        // Wakes the listener.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Ways {
    fn pass_on(self: &Arc<Self>, client: TcpStream, server: u16) -> io::Result<()> {
        if self.refuses.load(Ordering::Relaxed) {
            return client.shutdown(Shutdown::Both);
        }
        let server = TcpStream::connect(("127.0.0.1", server))?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.extend([client.try_clone()?, server.try_clone()?]);
        drop(open);
        let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
        let (there, back) = (self.clone(), self.clone());
        thread::spawn(move || there.pump(from_client, to_server, false));
        thread::spawn(move || back.pump(server, client, true));
        Ok(())
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream, is_reply: bool) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let bytes = &buffer[..count];
            let delay = self.delay_ms.load(Ordering::Relaxed);
            if is_reply && delay > 0 {
                thread::sleep(Duration::from_millis(delay));
            }
            if is_reply && self.is_cut_here(bytes) {
                self.cuts.fetch_add(1, Ordering::Relaxed);
                break;
            }
            if to.write_all(bytes).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    fn is_cut_here(&self, bytes: &[u8]) -> bool {
        self.cut_after_commit.load(Ordering::Relaxed)
            && bytes.windows(COMMITTED.len()).any(|window| window == COMMITTED)
            && self.cut_after_commit.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn reply_to_a_commit_is_cut_once() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy::before(server.local_addr().unwrap().port()).unwrap();
        let reply = move |server: &TcpListener| server.accept().unwrap().0.write_all(COMMITTED).unwrap();
        let read = |proxy: &Proxy| {
            let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
            move || {
                let mut got = Vec::new();
                client.read_to_end(&mut got).unwrap();
                got
            }
        };
        proxy.cut_after_commit();
        let mut first = read(&proxy);
        reply(&server);
        assert_eq!(first(), b"");
        assert_eq!(proxy.cuts(), 1);
        let mut second = read(&proxy);
        reply(&server);
        assert_eq!(second(), COMMITTED);
        assert_eq!(proxy.cuts(), 1);
    }
}
