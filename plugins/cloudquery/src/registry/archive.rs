//! The one file in an archive (ZIP) of the hub's: a plugin's executable. What comes out is bounded, and names in it become no paths.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::path::Path;

use zip::ZipArchive;

/// The largest plugins have some hundred megabytes.
pub(super) const EXECUTABLE_BYTES_MAX: u64 = 2 << 30;

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
    let mut archive = ZipArchive::new(File::open(archive)?)?;
    let mut executable = None;
    let mut files = 0;
    for index in 0..archive.len() {
        let file = archive.by_index_raw(index)?;
        if !file.is_file() {
            continue;
        }
        files += 1;
        let mut path = file.name_raw().rsplit(|byte| *byte == b'/');
        if path.next().is_some_and(|name| name.starts_with(b"plugin")) {
            executable = Some(index);
            break;
        }
        executable = (files == 1).then_some(index);
    }
    let executable = executable.ok_or_else(|| broken("it holds no executable whose name begins with `plugin`"))?;
    let file = archive.by_index(executable)?;
    let size = file.size();
    if size > EXECUTABLE_BYTES_MAX {
        return Err(broken("the file in it is too large"));
    }
    // One byte more than it says would show that it lies.
    if std::io::copy(&mut file.take(size + 1), out)? != size {
        return Err(broken("the file in it is damaged"));
    }
    Ok(())
}

fn broken(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::expect_used)]

    use std::io::Cursor;

    use zip::CompressionMethod;
    use zip::write::{SimpleFileOptions, ZipWriter};

    use super::*;

    /// An archive with one file, packed or as it is.
    pub(in crate::registry) fn archive(name: &str, content: &[u8], is_deflated: bool) -> Vec<u8> {
        let method = match is_deflated {
            true => CompressionMethod::Deflated,
            false => CompressionMethod::Stored,
        };
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(method);
        archive.start_file(name, options).expect("memory");
        archive.write_all(content).expect("memory");
        archive.finish().expect("memory").into_inner()
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
        let error = unpacked(&bytes).expect_err("it is refused");
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    }
}
