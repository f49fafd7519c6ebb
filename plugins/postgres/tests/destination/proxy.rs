//! A TCP proxy inside the test, which loses a connection at a chosen moment of a commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// When the next commit loses its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The server never sees the COMMIT.
    BeforeCommit = 1,
    /// The server commits, and its reply is lost.
    BeforeReply = 2,
}

/// Forwards connections to a server.
pub(crate) struct Proxy {
    port: u16,
    cut: Arc<AtomicU8>,
    cuts: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn to(server_port: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cut, cuts) = (Arc::new(AtomicU8::new(0)), Arc::new(AtomicUsize::new(0)));
        let (armed, done) = (Arc::clone(&cut), Arc::clone(&cuts));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", server_port)).await.unwrap();
                tokio::spawn(forward(client, server, Arc::clone(&armed), Arc::clone(&done)));
            }
        });
        Proxy { port, cut, cuts, task }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The next COMMIT on any connection loses it.
    pub(crate) fn arm(&self, cut: Cut) {
        self.cut.store(cut as u8, Ordering::SeqCst);
    }

    /// How many connections were cut.
    pub(crate) fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A simple query `COMMIT`, as it is on the wire.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

async fn forward(mut client: TcpStream, mut server: TcpStream, cut: Arc<AtomicU8>, cuts: Arc<AtomicUsize>) {
    let (mut up, mut down) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(n @ 1..) = read else { return };
                let is_commit = up[..n].windows(COMMIT.len()).any(|window| window == COMMIT);
                let armed = if is_commit { cut.swap(0, Ordering::SeqCst) } else { 0 };
                if armed == Cut::BeforeCommit as u8 {
                    cuts.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                if server.write_all(&up[..n]).await.is_err() {
                    return;
                }
                if armed == Cut::BeforeReply as u8 {
                    // The reply is here, so the commit has happened; nobody hears of it.
                    let _ = server.read(&mut down).await;
                    cuts.fetch_add(1, Ordering::SeqCst);
                    return;
                }
            }
            read = server.read(&mut down) => {
                let Ok(n @ 1..) = read else { return };
                if client.write_all(&down[..n]).await.is_err() {
                    return;
                }
            }
        }
    }
}
