//! What plugins in every language have in common: where they are put, and how their processes are found.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::Missing;

/// Test executables lie in `target/<profile>/deps`.
pub(crate) fn target_directory() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    test.ancestors().nth(3).unwrap_or(Path::new("target")).to_owned()
}

/// Puts a script into `folder`, and an executable `name` beside it that runs it with `interpreter`: so its processes can be told
/// from those of other folders by their arguments.
pub(crate) fn install_script(
    folder: &Path,
    name: &str,
    extension: &str,
    script: &str,
    interpreter: &Path,
) -> Result<PathBuf, Missing> {
    let file = folder.join(name).with_extension(extension);
    let path = folder.join(name);
    let text = format!(
        "#!/bin/sh\nexec '{}' '{}' \"$@\"\n",
        interpreter.display(),
        file.display()
    );
    let write = || -> io::Result<()> {
        std::fs::write(&file, script)?;
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
    };
    write().map_err(|error| cannot_write(folder, &error))?;
    Ok(path)
}

/// Makes `folder/name` lead to `target`.
pub(crate) fn link(folder: &Path, name: &str, target: &Path) -> Result<PathBuf, Missing> {
    let path = folder.join(name);
    match std::os::unix::fs::symlink(target, &path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(cannot_write(folder, &error)),
        _ => Ok(path),
    }
}

fn cannot_write(folder: &Path, error: &io::Error) -> Missing {
    Missing(format!("cannot write into `{}`: {error}", folder.display()))
}

/// The processes of which the arguments name `folder`, or that work in it: an executable that is named from there does not say it.
pub fn processes_of(folder: &Path) -> Vec<u32> {
    let name = folder.as_os_str().as_encoded_bytes();
    let is_of = |pid: &u32| {
        let is_named = arguments(*pid).windows(name.len()).any(|window| window == name);
        is_named || std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == folder)
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(is_of)
        .collect()
}

/// The process of one plugin in `folder`, by a part of its arguments; not the shell that watches it.
pub fn process_of(folder: &Path, plugin: &str) -> Option<u32> {
    processes_of(folder).into_iter().find(|pid| {
        let arguments = arguments(*pid);
        let arguments = String::from_utf8_lossy(&arguments);
        arguments.contains(plugin) && !arguments.contains("read -r")
    })
}

fn arguments(pid: u32) -> Vec<u8> {
    std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}
