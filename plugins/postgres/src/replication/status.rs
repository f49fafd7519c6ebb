//! The side of a stream that speaks: a task of its own, so that it speaks on time whatever the reader does.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use super::lsn::Lsn;
use super::time::ServerTime;

/// How far we are. Each only goes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    /// What has arrived. For the server's statistics only.
    pub received: Lsn,
    /// What the server need not keep for us any longer: the slot moves here. A commit's `end_lsn`.
    pub flushed: Lsn,
    /// What is visible at the destination; synchronous commit at level `remote_apply` waits for it.
    pub applied: Lsn,
}

impl Marks {
    fn raise(&mut self, to: Marks) {
        self.received = self.received.max(to.received);
        self.flushed = self.flushed.max(to.flushed);
        self.applied = self.applied.max(to.applied);
    }
}

/// Nobody asked and nothing moved: say so this often even if the server would wait for ever.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// A server that waits for 1 ms only cannot be pleased.
const SILENCE_MIN: Duration = Duration::from_millis(50);

/// A status is sent at least this often: a third of the server's patience, so that one may be late.
pub(super) fn silence(wal_sender_timeout: Option<Duration>) -> Duration {
    wal_sender_timeout.map_or(SILENCE_MAX, |timeout| (timeout / 3).clamp(SILENCE_MIN, SILENCE_MAX))
}

/// What reader, owner and writer share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    marks: Mutex<Marks>,
    wants_reply: AtomicBool,
    is_stopping: AtomicBool,
    wake: Notify,
}

impl Shared {
    pub(super) fn starting_at(at: Lsn) -> Arc<Self> {
        let marks = Marks {
            received: at,
            flushed: at,
            applied: at,
        };
        Arc::new(Shared {
            marks: Mutex::new(marks),
            ..Shared::default()
        })
    }

    pub(super) fn marks(&self) -> Marks {
        *self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn raise(&self, to: Marks) {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner).raise(to);
    }

    /// Sends a status as soon as possible; several calls may share one.
    pub(super) fn send_now(&self, wants_reply: bool) {
        if wants_reply {
            self.wants_reply.store(true, Ordering::Release);
        }
        self.wake.notify_one();
    }

    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

/// Writes a status whenever asked, and whenever there was silence for too long, until told to stop; then `CopyDone`.
///
/// Fate: aborted when the stream is dropped. Ends by itself after the goodbye, or if the connection breaks, which the reader
/// then sees as well.
pub(super) async fn write_statuses<W: AsyncWrite + Unpin>(
    mut to: W,
    shared: Arc<Shared>,
    silence: Duration,
) -> io::Result<()> {
    loop {
        let _ = tokio::time::timeout(silence, shared.wake.notified()).await;
        if shared.is_stopping.load(Ordering::Acquire) {
            to.write_all(&status(shared.marks(), false)).await?;
            // CopyDone.
            to.write_all(&[b'c', 0, 0, 0, 4]).await?;
            to.flush().await?;
            return Ok(());
        }
        let wants_reply = shared.wants_reply.swap(false, Ordering::AcqRel);
        to.write_all(&status(shared.marks(), wants_reply)).await?;
        to.flush().await?;
    }
}

/// `CopyData` with a standby status update.
fn status(marks: Marks, wants_reply: bool) -> [u8; 39] {
    let mut message = [0; 39];
    message[0] = b'd';
    message[1..5].copy_from_slice(&38_u32.to_be_bytes());
    message[5] = b'r';
    message[6..14].copy_from_slice(&marks.received.0.to_be_bytes());
    message[14..22].copy_from_slice(&marks.flushed.0.to_be_bytes());
    message[22..30].copy_from_slice(&marks.applied.0.to_be_bytes());
    message[30..38].copy_from_slice(&ServerTime::now().0.to_be_bytes());
    message[38] = u8::from(wants_reply);
    message
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::AsyncReadExt;

    use super::*;

    #[test]
    fn silence_is_never_longer_than_half_of_the_servers_patience() {
        assert_eq!(silence(None), Duration::from_secs(10));
        assert_eq!(silence(Some(Duration::from_secs(60))), Duration::from_secs(10));
        assert_eq!(silence(Some(Duration::from_secs(3))), Duration::from_secs(1));
        for millis in [100, 500, 1_000, 2_000, 5_000, 60_000] {
            let timeout = Duration::from_millis(millis);
            assert!(silence(Some(timeout)) <= timeout / 2, "{millis}");
        }
    }

    #[test]
    fn marks_only_go_up() {
        let shared = Shared::starting_at(Lsn(10));
        shared.raise(Marks {
            received: Lsn(20),
            flushed: Lsn(5),
            applied: Lsn(11),
        });
        let expected = Marks {
            received: Lsn(20),
            flushed: Lsn(10),
            applied: Lsn(11),
        };
        assert_eq!(shared.marks(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn writer_speaks_when_asked_and_after_silence_and_says_goodbye() {
        let (ours, mut theirs) = tokio::io::duplex(1_000);
        let shared = Shared::starting_at(Lsn(7));
        let writer = tokio::spawn(write_statuses(ours, Arc::clone(&shared), Duration::from_secs(5)));
        let began = tokio::time::Instant::now();
        let mut message = [0; 39];
        theirs.read_exact(&mut message).await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(5));
        assert_eq!(
            (message[5], &message[14..22], message[38]),
            (b'r', &7_u64.to_be_bytes()[..], 0)
        );
        shared.send_now(true);
        theirs.read_exact(&mut message).await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(5), "at once");
        assert_eq!(message[38], 1);
        shared.stop();
        theirs.read_exact(&mut message).await.unwrap();
        let mut done = [0; 5];
        theirs.read_exact(&mut done).await.unwrap();
        assert_eq!(done, [b'c', 0, 0, 0, 4]);
        writer.await.unwrap().unwrap();
    }
}
