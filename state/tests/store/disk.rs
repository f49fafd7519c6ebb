//! Small disks to be filled, made read-only or cut off.

use std::fs::File;
use std::path::Path;
use std::process::Command;

/// A mounted file system; unmounted when dropped.
pub(crate) struct Disk(tempfile::TempDir);

impl Disk {
    /// A disk in memory. `None`, with the reason printed, where mounting is not allowed.
    pub(crate) fn in_memory(options: &str) -> Option<Disk> {
        Disk::mount(&["-t", "tmpfs", "-o", options, "none"])
    }

    /// The ext4 file system in `image`.
    pub(crate) fn of_image(image: &Path) -> Option<Disk> {
        Disk::mount(&["-o", "loop", image.to_str().unwrap()])
    }

    fn mount(arguments: &[&str]) -> Option<Disk> {
        let dir = tempfile::tempdir().unwrap();
        run(Command::new("mount").args(arguments).arg(dir.path())).then(|| Disk(dir))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--lazy"]).arg(self.path()).status();
    }
}

/// An empty ext4 file system in a file.
pub(crate) fn make_image(path: &Path, size_bytes: u64) -> bool {
    File::create(path).unwrap().set_len(size_bytes).unwrap();
    run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(path))
}

fn run(command: &mut Command) -> bool {
    let refused = match command.output() {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    println!("skipped: cannot run {command:?}: {refused}");
    false
}
