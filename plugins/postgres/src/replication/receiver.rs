use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// PostgreSQL itself cannot build a message of more than 1 GiB.
pub const MESSAGE_BYTES_MAX: usize = (1 << 30) + (1 << 16);

/// Large, because most of a reader's time is system calls; not larger, because a slice that is kept keeps its whole chunk.
const CHUNK_BYTES: usize = 256 << 10;

/// Tag and length.
const HEADER_BYTES: usize = 5;

/// One message of the server, with its header.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) tag: u8,
    /// The whole message, tag and length too.
    pub(super) bytes: BytesMut,
}

impl Raw {
    /// Without the header.
    pub(super) fn into_body(self) -> Bytes {
        let mut bytes = self.bytes.freeze();
        bytes.advance(HEADER_BYTES);
        bytes
    }
}

/// Cuts what arrives into messages.
#[derive(Debug)]
pub(super) struct Receiver {
    buffer: BytesMut,
    message_bytes_max: usize,
}

impl Receiver {
    pub(super) fn new() -> Self {
        Receiver {
            buffer: BytesMut::new(),
            message_bytes_max: MESSAGE_BYTES_MAX,
        }
    }

    #[cfg(test)]
    fn with_limit(message_bytes_max: usize) -> Self {
        Receiver {
            message_bytes_max,
            ..Receiver::new()
        }
    }

    /// The next message. The end of the connection is an error: the protocol says goodbye before.
    ///
    /// Cancel-safe: what was read stays in the buffer.
    pub(super) async fn next(&mut self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<Raw> {
        loop {
            if let Some(raw) = self.cut()? {
                return Ok(raw);
            }
            if self.buffer.capacity() - self.buffer.len() < CHUNK_BYTES / 8 {
                self.buffer.reserve(CHUNK_BYTES);
            }
            if from.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// A message that has arrived whole.
    pub(super) fn cut(&mut self) -> io::Result<Option<Raw>> {
        let Some((&[tag, a, b, c, d], _)) = self.buffer.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length < 4 || length > self.message_bytes_max {
            let what = format!(
                "a message with the length {length}: from 4 to {} are possible",
                self.message_bytes_max
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let whole = length + 1;
        if self.buffer.len() < whole {
            // The rest of a long message in one piece.
            self.buffer.reserve(whole - self.buffer.len());
            return Ok(None);
        }
        Ok(Some(Raw {
            tag,
            bytes: self.buffer.split_to(whole),
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag];
        bytes.extend((body.len() as u32 + 4).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    #[tokio::test]
    async fn messages_are_cut_wherever_the_network_cuts_them() {
        let bodies: Vec<Vec<u8>> = (0..40).map(|i| vec![i as u8; i * 37]).collect();
        let bytes: Vec<u8> = bodies.iter().flat_map(|body| message(b'd', body)).collect();
        for size in [1, 2, 5, 7, 100, 1_000, bytes.len()] {
            let mut receiver = Receiver::new();
            let mut from = tokio_test_io(&bytes, size);
            for body in &bodies {
                let raw = receiver.next(&mut from).await.unwrap();
                assert_eq!((raw.tag, raw.into_body().as_ref()), (b'd', body.as_slice()));
            }
            let end = receiver.next(&mut from).await.unwrap_err();
            assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[tokio::test]
    async fn message_longer_than_the_limit_is_refused_before_it_is_read() {
        let mut receiver = Receiver::with_limit(100);
        let mut from: &[u8] = &[b'd', 0, 0, 0, 101];
        let error = receiver.next(&mut from).await.unwrap_err();
        assert!(error.to_string().contains("101"), "{error}");
        let mut from: &[u8] = &[b'd', 0, 0, 0, 3];
        assert!(Receiver::new().next(&mut from).await.is_err());
        let mut from: &[u8] = &[b'd', 0xff, 0xff, 0xff, 0xff];
        assert!(Receiver::new().next(&mut from).await.is_err());
    }

    /// Yields the bytes in pieces of `size`.
    fn tokio_test_io(bytes: &[u8], size: usize) -> impl AsyncRead + Unpin {
        let pieces: Vec<io::Result<Bytes>> = bytes
            .chunks(size)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        tokio_util::io::StreamReader::new(futures::stream::iter(pieces))
    }
}
