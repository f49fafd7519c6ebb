//! The one file in an archive (ZIP) of the hub's: a plugin's executable.
//!
//! - Only what such archives are made of is read: entries that are stored or deflated, with sizes in the central directory.
//! - What comes out is bounded, and must have the length and the CRC that the archive says. Names in it become no paths.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom, Write};
use std::path::Path;

use flate2::read::DeflateDecoder;
use flate2::{Crc, CrcWriter};

/// The largest plugins have some hundred megabytes.
pub(super) const EXECUTABLE_BYTES_MAX: u64 = 2 << 30;
/// The end of the directory is the last record but a comment, which has at most so many bytes.
const END_BYTES_MAX: u64 = 22 + 65_535;
const DIRECTORY_BYTES_MAX: u64 = 1 << 20;

/// Whether a file begins as an archive does.
pub(super) fn is_archive(path: &Path) -> Result<bool> {
    let mut start = [0; 4];
    let mut file = File::open(path)?;
    match file.read_exact(&mut start) {
        Ok(()) => Ok(start == *b"PK\x03\x04"),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes the archive's executable to `out`: its only file, or the one whose name begins with `plugin`.
pub(super) fn unpack(archive: &Path, out: &mut impl Write) -> Result<()> {
    let mut file = File::open(archive)?;
    let entries = entries(&mut file)?;
    let named = entries.iter().find(|entry| entry.is_named_plugin);
    let entry = match (named, entries.as_slice()) {
        (Some(entry), _) | (None, [entry]) => entry,
        _ => return Err(broken("it holds no executable whose name begins with `plugin`")),
    };
    entry.unpack(&mut file, out)
}

/// A file in an archive.
struct Entry {
    is_named_plugin: bool,
    is_deflated: bool,
    crc: u32,
    packed: u64,
    size: u64,
    header: u64,
}

fn broken(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what.to_owned())
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u64> {
    let bytes = bytes.get(at..at + 2).ok_or_else(|| broken("it is cut off"))?;
    Ok(u64::from(u16::from_le_bytes([bytes[0], bytes[1]])))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u64> {
    Ok(u16_at(bytes, at)? | u16_at(bytes, at + 2)? << 16)
}

/// The files of the central directory.
fn entries(file: &mut File) -> Result<Vec<Entry>> {
    let length = file.metadata()?.len();
    let tail_start = length.saturating_sub(END_BYTES_MAX);
    file.seek(SeekFrom::Start(tail_start))?;
    let mut tail = Vec::new();
    file.take(END_BYTES_MAX).read_to_end(&mut tail)?;
    let end = tail.windows(4).rposition(|window| window == b"PK\x05\x06");
    let end = &tail[end.ok_or_else(|| broken("it is no archive"))?..];
    let (size, start) = (u32_at(end, 12)?, u32_at(end, 16)?);
    if size > DIRECTORY_BYTES_MAX || start + size > length {
        return Err(broken("its directory does not fit into it"));
    }
    file.seek(SeekFrom::Start(start))?;
    let mut directory = vec![0; size as usize];
    file.read_exact(&mut directory)?;
    let mut entries = Vec::new();
    let mut rest = directory.as_slice();
    while rest.starts_with(b"PK\x01\x02") {
        let [name, extra, comment] =
            [u16_at(rest, 28)?, u16_at(rest, 30)?, u16_at(rest, 32)?].map(|length| length as usize);
        let name_bytes = rest.get(46..46 + name).ok_or_else(|| broken("it is cut off"))?;
        let method = u16_at(rest, 10)?;
        if !name_bytes.ends_with(b"/") {
            entries.push(Entry {
                is_named_plugin: name_bytes
                    .rsplit(|byte| *byte == b'/')
                    .next()
                    .is_some_and(|n| n.starts_with(b"plugin")),
                is_deflated: match method {
                    0 => false,
                    8 => true,
                    _ => return Err(broken("it is packed in a way that is not known here")),
                },
                crc: u32_at(rest, 16)? as u32,
                packed: u32_at(rest, 20)?,
                size: u32_at(rest, 24)?,
                header: u32_at(rest, 42)?,
            });
        }
        rest = rest.get(46 + name + extra + comment..).unwrap_or_default();
    }
    Ok(entries)
}

impl Entry {
    fn unpack(&self, file: &mut File, out: &mut impl Write) -> Result<()> {
        if self.size > EXECUTABLE_BYTES_MAX {
            return Err(broken("the file in it is too large"));
        }
        file.seek(SeekFrom::Start(self.header))?;
        let mut header = [0; 30];
        file.read_exact(&mut header)?;
        if !header.starts_with(b"PK\x03\x04") {
            return Err(broken("its directory leads nowhere"));
        }
        let skipped = u16_at(&header, 26)? + u16_at(&header, 28)?;
        file.seek(SeekFrom::Start(self.header + 30 + skipped))?;
        let packed = file.take(self.packed);
        let mut out = CrcWriter::new(out);
        // One byte more than it says would show that it lies.
        let written = match self.is_deflated {
            true => std::io::copy(&mut DeflateDecoder::new(packed).take(self.size + 1), &mut out)?,
            false => std::io::copy(&mut packed.take(self.size + 1), &mut out)?,
        };
        let crc: &Crc = out.crc();
        if written != self.size || crc.sum() != self.crc {
            return Err(broken("the file in it is damaged"));
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An archive with one file, packed or as it is.
    pub(in crate::registry) fn archive(name: &str, content: &[u8], is_deflated: bool) -> Vec<u8> {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).expect("memory");
        let packed = match is_deflated {
            true => encoder.finish().expect("memory"),
            false => content.to_vec(),
        };
        let mut crc = Crc::new();
        crc.update(content);
        let method = if is_deflated { 8u16 } else { 0 };
        let mut common = Vec::new();
        common.extend([20, 0, 0, 0]);
        common.extend(method.to_le_bytes());
        common.extend([0; 4]);
        common.extend(crc.sum().to_le_bytes());
        common.extend((packed.len() as u32).to_le_bytes());
        common.extend((content.len() as u32).to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        let local = [b"PK\x03\x04", &common[..], name.as_bytes(), &packed].concat();
        let directory = [b"PK\x01\x02", &[20, 0][..], &common, &[0; 14], name.as_bytes()].concat();
        let end = [
            b"PK\x05\x06",
            &[0, 0, 0, 0, 1, 0, 1, 0][..],
            &(directory.len() as u32).to_le_bytes(),
            &(local.len() as u32).to_le_bytes(),
            &[0, 0],
        ]
        .concat();
        [local, directory, end].concat()
    }

    fn unpacked(bytes: &[u8]) -> Result<Vec<u8>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("plugin.zip");
        std::fs::write(&path, bytes)?;
        let mut out = Vec::new();
        unpack(&path, &mut out).map(|()| out)
    }

    #[test]
    fn the_file_comes_out_as_it_went_in() {
        let content = b"a plugin, a plugin, a plugin".repeat(1_000);
        for is_deflated in [true, false] {
            let archive = archive("plugin-x-v1.0.0-linux-amd64", &content, is_deflated);
            assert_eq!(unpacked(&archive).expect("it unpacks"), content);
        }
    }

    #[test]
    fn a_damaged_archive_is_an_error_and_never_a_file() {
        let good = archive("plugin-x", &b"some plugin ".repeat(50), true);
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x40;
            // A name, a date or a version may be another one; the file may not.
            if let Ok(content) = unpacked(&bytes) {
                assert_eq!(content, b"some plugin ".repeat(50), "byte {at}");
            }
            assert!(unpacked(&good[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn what_says_less_than_it_holds_is_refused() {
        let mut bytes = archive("plugin-x", &[7; 5_000], true);
        let at = bytes
            .windows(4)
            .rposition(|window| window == b"PK\x01\x02")
            .expect("a directory");
        bytes[at + 24..at + 28].copy_from_slice(&10u32.to_le_bytes());
        assert!(unpacked(&bytes).is_err_and(|error| error.to_string().contains("damaged")));
    }
}
