//! Callers whose `:authority` the HTTP/2 library in here refuses.
//!
//! grpc-go and gRPC's C core dial a Unix socket with the percent-encoded path as `:authority` (`%2Ftmp%2Fcq.sock`). That is
//! none that the library lets in, and nobody reads it. So what a connection sends passes through here: in header blocks, the
//! value of `:authority` becomes one harmless character; all else goes on byte for byte.
//!
//! - The other side's compression needs no decoding. A value is written out only where it is new, beside the index of its
//!   name or the name itself; repeats refer to the table, which then has our value.
//! - Tables stay in step. An entry that is shorter for the reader than for the writer makes the reader forget later, never
//!   earlier, and entries are counted from the newest, so every reference still finds its entry.
//! - Frames only become shorter, so no limit of the reader is met that the writer kept.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tonic::transport::server::Connected;

const PREFACE_LEN: usize = 24;
const FRAME_HEAD_LEN: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// What a reader takes as a frame unless it says otherwise.
const FRAME_LEN_MAX: usize = 16_384;
/// A caller's headers are some hundreds of bytes.
const BLOCK_LEN_MAX: usize = 256 << 10;

/// `:authority` in HPACK's static table.
const AUTHORITY_INDEX: usize = 1;
const AUTHORITY: &[u8] = b":authority";
/// The same in HPACK's Huffman code.
const AUTHORITY_HUFFMAN: &[u8] = &[0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f];
/// Shorter than any value, so that it is never larger in a table.
const HARMLESS: &[u8] = b"x";

/// What is read of a connection at once.
const READ_LEN: usize = 64 << 10;

/// A connection, with a clean `:authority`.
pub(super) struct CleanAuthority<S> {
    /// Heads of frames are nine bytes, and small records come by the thousand: not a system call for each.
    connection: BufReader<S>,
    wanted: Wanted,
    /// What was read of it.
    read: Vec<u8>,
    /// A header block that goes on in the next frame.
    open: Option<Block>,
    /// Bytes that are ready, and how far they are handed out.
    ready: Vec<u8>,
    handed: usize,
}

/// What is read next.
enum Wanted {
    /// The first bytes of a connection.
    Preface,
    FrameHead,
    /// So many bytes that pass as they are.
    Pass(usize),
    /// A frame of headers: its kind, its flags, its length.
    Headers {
        kind: u8,
        flags: u8,
        len: usize,
    },
}

/// Headers of one request, as far as they have come.
struct Block {
    stream: [u8; 4],
    /// Without those that say how the block is cut.
    flags: u8,
    priority: Vec<u8>,
    bytes: Vec<u8>,
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl<S: AsyncRead> CleanAuthority<S> {
    pub(super) fn new(connection: S) -> Self {
        CleanAuthority {
            connection: BufReader::with_capacity(READ_LEN, connection),
            wanted: Wanted::Preface,
            read: Vec::new(),
            open: None,
            ready: Vec::new(),
            handed: 0,
        }
    }

    /// How many bytes have to be together before one can go on.
    fn wanted_len(&self) -> usize {
        match self.wanted {
            Wanted::Preface => PREFACE_LEN,
            Wanted::FrameHead => FRAME_HEAD_LEN,
            Wanted::Headers { len, .. } => FRAME_HEAD_LEN + len,
            Wanted::Pass(_) => 0,
        }
    }

    /// Goes on with what is together; says what is ready, and what is wanted next.
    fn go_on(&mut self) -> io::Result<()> {
        match self.wanted {
            Wanted::Preface => {
                self.ready.append(&mut self.read);
                self.wanted = Wanted::FrameHead;
            }
            Wanted::FrameHead => {
                let head = &self.read;
                let len = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
                let (kind, flags) = (head[3], head[4]);
                if kind != HEADERS && kind != CONTINUATION {
                    self.ready.append(&mut self.read);
                    self.wanted = if len == 0 { Wanted::FrameHead } else { Wanted::Pass(len) };
                } else if len > FRAME_LEN_MAX {
                    return Err(broken("a frame of headers is too long"));
                } else {
                    self.wanted = Wanted::Headers { kind, flags, len };
                    if len == 0 {
                        self.go_on()?;
                    }
                }
            }
            Wanted::Headers { kind, flags, .. } => {
                let frame = std::mem::take(&mut self.read);
                self.headers(kind, flags, &frame)?;
                self.wanted = Wanted::FrameHead;
            }
            Wanted::Pass(_) => {}
        }
        Ok(())
    }

    fn headers(&mut self, kind: u8, flags: u8, frame: &[u8]) -> io::Result<()> {
        let stream = [frame[5], frame[6], frame[7], frame[8]];
        let mut payload = &frame[FRAME_HEAD_LEN..];
        let mut block = match (kind, self.open.take()) {
            (CONTINUATION, Some(block)) if block.stream == stream => block,
            (HEADERS, None) => {
                if flags & PADDED != 0 {
                    let (pad, rest) = payload
                        .split_first()
                        .ok_or_else(|| broken("a frame without its padding"))?;
                    let len = rest.len().checked_sub(usize::from(*pad));
                    payload = &rest[..len.ok_or_else(|| broken("a frame with more padding than bytes"))?];
                }
                let priority_len = if flags & PRIORITY != 0 { 5 } else { 0 };
                let (priority, rest) = payload
                    .split_at_checked(priority_len)
                    .ok_or_else(|| broken("a frame without its priority"))?;
                payload = rest;
                Block {
                    stream,
                    flags: flags & !(PADDED | END_HEADERS),
                    priority: priority.to_vec(),
                    bytes: Vec::new(),
                }
            }
            _ => return Err(broken("a frame of headers out of place")),
        };
        if block.bytes.len() + payload.len() > BLOCK_LEN_MAX {
            return Err(broken("a block of headers is too long"));
        }
        block.bytes.extend_from_slice(payload);
        if flags & END_HEADERS == 0 {
            self.open = Some(block);
            return Ok(());
        }
        let clean = cleaned(&block.bytes).ok_or_else(|| broken("a block of headers cannot be read"))?;
        block.bytes = clean;
        block.write(&mut self.ready);
        Ok(())
    }
}

impl Block {
    /// As one frame, or as many as it takes.
    fn write(&self, out: &mut Vec<u8>) {
        let (first, mut rest) = self
            .bytes
            .split_at(self.bytes.len().min(FRAME_LEN_MAX - self.priority.len()));
        let mut frame = |kind: u8, flags: u8, parts: [&[u8]; 2], is_last: bool| {
            let len = (parts[0].len() + parts[1].len()) as u32;
            let flags = if is_last { flags | END_HEADERS } else { flags };
            out.extend_from_slice(&len.to_be_bytes()[1..]);
            out.extend_from_slice(&[kind, flags]);
            out.extend_from_slice(&self.stream);
            parts.iter().for_each(|part| out.extend_from_slice(part));
        };
        frame(HEADERS, self.flags, [&self.priority, first], rest.is_empty());
        while !rest.is_empty() {
            let (part, behind) = rest.split_at(rest.len().min(FRAME_LEN_MAX));
            rest = behind;
            frame(CONTINUATION, 0, [&[], part], rest.is_empty());
        }
    }
}

/// A header block with another value for `:authority`; `None` if it is no header block.
fn cleaned(block: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(block.len());
    let mut rest = block;
    while let Some(&first) = rest.first() {
        let field = rest;
        // How many bits of the first byte belong to the number, and whether text follows.
        let (bits, is_literal) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false),
            _ => (4, true),
        };
        let index = number(&mut rest, bits)?;
        if is_literal {
            let mut is_authority = index == AUTHORITY_INDEX;
            if index == 0 {
                let (is_huffman, name) = text(&mut rest)?;
                is_authority = name == if is_huffman { AUTHORITY_HUFFMAN } else { AUTHORITY };
            }
            let before_value = &field[..field.len() - rest.len()];
            let (_, value) = text(&mut rest)?;
            if is_authority && !value.is_empty() {
                out.extend_from_slice(before_value);
                out.push(HARMLESS.len() as u8);
                out.extend_from_slice(HARMLESS);
                continue;
            }
        }
        out.extend_from_slice(&field[..field.len() - rest.len()]);
    }
    Some(out)
}

/// A number of RFC 7541, section 5.1.
fn number(rest: &mut &[u8], bits: u32) -> Option<usize> {
    let (first, behind) = rest.split_first()?;
    *rest = behind;
    let most = (1_usize << bits) - 1;
    let mut value = usize::from(*first) & most;
    if value < most {
        return Some(value);
    }
    for shift in [0, 7, 14, 21] {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A text of RFC 7541, section 5.2: whether it is in Huffman code, and its bytes.
fn text<'a>(rest: &mut &'a [u8]) -> Option<(bool, &'a [u8])> {
    let is_huffman = rest.first()? & 0x80 != 0;
    let len = number(rest, 7)?;
    let (bytes, behind) = rest.split_at_checked(len)?;
    *rest = behind;
    Some((is_huffman, bytes))
}

impl<S: AsyncRead + Unpin> AsyncRead for CleanAuthority<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.handed < this.ready.len() {
                let len = out.remaining().min(this.ready.len() - this.handed);
                out.put_slice(&this.ready[this.handed..this.handed + len]);
                this.handed += len;
                if this.handed == this.ready.len() {
                    this.ready.clear();
                    this.handed = 0;
                }
                return Poll::Ready(Ok(()));
            }
            if let Wanted::Pass(left) = this.wanted {
                // Straight into the reader's memory: this is where the rows are.
                let len = left.min(out.remaining());
                let mut part = ReadBuf::new(out.initialize_unfilled_to(len));
                ready!(Pin::new(&mut this.connection).poll_read(cx, &mut part))?;
                let filled = part.filled().len();
                out.advance(filled);
                if filled == 0 {
                    return Poll::Ready(Ok(()));
                }
                this.wanted = if filled == left {
                    Wanted::FrameHead
                } else {
                    Wanted::Pass(left - filled)
                };
                return Poll::Ready(Ok(()));
            }
            let mut bytes = [0; 512];
            let missing = this.wanted_len() - this.read.len();
            let mut part = ReadBuf::new(&mut bytes[..missing.min(512)]);
            ready!(Pin::new(&mut this.connection).poll_read(cx, &mut part))?;
            if part.filled().is_empty() {
                // The end, maybe in the middle: the reader judges that.
                this.ready.append(&mut this.read);
                if this.ready.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            this.read.extend_from_slice(part.filled());
            if this.read.len() == this.wanted_len() {
                this.go_on()?;
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for CleanAuthority<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Connected> Connected for CleanAuthority<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.connection.get_ref().connect_info()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn literal(first: u8, name: Option<&[u8]>, value: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        for text in name.into_iter().chain([value]) {
            out.push(text.len() as u8);
            out.extend_from_slice(text);
        }
        out
    }

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        out.extend_from_slice(&[kind, flags, 0, 0, 0, 1]);
        out.extend_from_slice(payload);
        out
    }

    #[test]
    fn value_of_authority_goes_and_all_else_stays() {
        let path = literal(0x44, None, b"/cloudquery.plugin.v3.Plugin/Init");
        let other = literal(0x40, Some(b"user-agent"), b"grpc-go/1.83.0");
        let method = [0x83];
        let resize = [0x3f, 0xe1, 0x1f];
        // By the index of its name with and without a table, by its name, and by its name in Huffman code.
        for (first, name) in [(0x41, None), (0x01, None), (0x11, None), (0x40, Some(AUTHORITY))] {
            let with = |value: &[u8]| {
                let authority = literal(first, name, value);
                [&resize[..], &method, &authority, &path, &other].concat()
            };
            assert_eq!(cleaned(&with(b"%2Ftmp%2Fcq-x.sock")).unwrap(), with(b"x"));
        }
        let huffman = |value: &[u8]| {
            let mut out = vec![0x40, 0x80 | AUTHORITY_HUFFMAN.len() as u8];
            out.extend_from_slice(AUTHORITY_HUFFMAN);
            out.push(value.len() as u8);
            out.extend_from_slice(value);
            out
        };
        assert_eq!(cleaned(&huffman(b"%2Ftmp")).unwrap(), huffman(b"x"));
        // A reference to the table is a reference still.
        assert_eq!(cleaned(&[0x81, 0xbe, 0x83]).unwrap(), [0x81, 0xbe, 0x83]);
    }

    #[test]
    fn blocks_that_end_too_early_are_none() {
        let whole = literal(0x41, None, b"%2Ftmp");
        for len in 1..whole.len() {
            assert_eq!(cleaned(&whole[..len]), None, "{len}");
        }
        assert_eq!(cleaned(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
    }

    /// What the reader gets of a connection that sends so many bytes at a time.
    async fn through(sent: &[u8], step: usize) -> io::Result<Vec<u8>> {
        let (mut ours, theirs) = tokio::io::duplex(64);
        let sent = sent.to_vec();
        let sender = tokio::spawn(async move {
            for part in sent.chunks(step) {
                if ours.write_all(part).await.is_err() {
                    return;
                }
            }
        });
        let mut got = Vec::new();
        let outcome = CleanAuthority::new(theirs).read_to_end(&mut got).await;
        sender.await.unwrap();
        outcome.map(|_| got)
    }

    #[tokio::test]
    async fn frames_are_cut_as_they_come_and_data_passes() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let dirty = literal(0x41, None, b"%2Ftmp%2Fcq-x.sock");
        let clean = literal(0x41, None, b"x");
        let path = literal(0x44, None, b"/a");
        let settings = frame(4, 0, &[]);
        let data = frame(0, 1, &[7; 1000]);
        let priority = [0, 0, 0, 0, 16];
        let padded = [&[3][..], &priority, &dirty, &path, &[0, 0, 0]].concat();
        let sent = [
            &preface[..],
            &settings,
            &frame(HEADERS, END_HEADERS | PADDED | PRIORITY, &padded),
            &data,
            &frame(HEADERS, 1, &dirty[..5]),
            &frame(CONTINUATION, 0, &dirty[5..]),
            &frame(CONTINUATION, END_HEADERS, &path),
            &data,
        ]
        .concat();
        let headers = [&clean[..], &path].concat();
        let expected = [
            &preface[..],
            &settings,
            &frame(HEADERS, END_HEADERS | PRIORITY, &[&priority[..], &headers].concat()),
            &data,
            &frame(HEADERS, END_HEADERS | 1, &headers),
            &data,
        ]
        .concat();
        for step in [1, 7, 64, 10_000] {
            assert_eq!(through(&sent, step).await.unwrap(), expected, "{step} bytes at a time");
        }
    }

    #[tokio::test]
    async fn headers_out_of_place_end_the_connection() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        for frames in [
            frame(CONTINUATION, END_HEADERS, &[0x83]),
            [frame(HEADERS, 0, &[0x83]), frame(HEADERS, END_HEADERS, &[0x83])].concat(),
            frame(HEADERS, END_HEADERS | PADDED, &[9, 0x83]),
            frame(HEADERS, END_HEADERS | PRIORITY, &[0, 0]),
            frame(HEADERS, END_HEADERS, &[0x41]),
        ] {
            let error = through(&[&preface[..], &frames].concat(), 64).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{frames:?}");
        }
        // Headers without an end have one.
        let endless = std::iter::once(frame(HEADERS, 0, &[0x83; 16_384]))
            .chain((0..20).map(|_| frame(CONTINUATION, 0, &[0x83; 16_384])))
            .collect::<Vec<_>>()
            .concat();
        assert!(through(&[&preface[..], &endless].concat(), 10_000).await.is_err());
    }
}
