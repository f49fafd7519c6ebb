//! The Unix socket: 0600 from its first moment, in place of whatever a killed process left behind.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use crate::codes::E0721;
use crate::exit::Failure;

/// The kernel's limit for the path of a socket, its final zero included.
const PATH_BYTES_MAX: usize = 108;

/// A path that the kernel takes for the socket at `path`: the same, or the way there through an open directory.
///
/// The file has to stay open while the path is used.
pub(crate) fn reachable(path: &Path) -> std::io::Result<(PathBuf, Option<std::fs::File>)> {
    // Room for the suffix of the temporary name.
    if path.as_os_str().len() + 8 < PATH_BYTES_MAX {
        return Ok((path.to_owned(), None));
    }
    use std::os::fd::AsRawFd;
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let directory = std::fs::File::open(parent)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    Ok((short.join(path.file_name().unwrap_or_default()), Some(directory)))
}

/// Listens at `path`. Only the owner of the state directory's lock comes here, so what is there is nobody's any more.
pub(super) fn bind(path: &Path) -> Result<UnixListener, Failure> {
    let attempt = || -> std::io::Result<UnixListener> {
        let (short, _directory) = reachable(path)?;
        // Made under another name, so that nobody can connect before the permissions are right.
        let mut new = short.clone().into_os_string();
        new.push(".new");
        let new = PathBuf::from(new);
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&new)?;
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&new, &short)?;
        Ok(listener)
    };
    attempt().map_err(|error| {
        Failure::environment(E0721.id, format!("cannot listen on socket `{}`", path.display()))
            .caused_by(error)
            .hint("name a place that this user can write to with `runtime: { admin: { socket: PATH } }`")
    })
}
