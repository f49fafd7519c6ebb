//! The state directory of this process, and the name that this process goes by.

use std::path::Path;

use api::Owner;
use state::{SledStore, StateError};
use tracing::{info, warn};

/// Opens the state directory, and logs what opening found and put right.
pub(crate) async fn open_store(dir: &Path) -> Result<SledStore, StateError> {
    let path = dir.to_owned();
    let opened = tokio::task::spawn_blocking(move || SledStore::open(&path)).await;
    let (store, notices) = match opened {
        Ok(opened) => opened?,
        // Opening panicked: the database said no in its own way.
        Err(panic) => {
            return Err(StateError::Database {
                path: dir.to_owned(),
                detail: panic.to_string(),
            });
        }
    };
    for notice in notices {
        let (code, hint) = (notice.code, notice.hint.as_deref());
        match notice.is_warning() {
            true => warn!(code, hint, notice = %notice, "state repaired"),
            false => info!(code, hint, notice = %notice, "state recovered"),
        }
    }
    Ok(store)
}

/// Who we are to destinations and rivals; unique for each process start.
pub(crate) fn owner() -> Owner {
    Owner {
        id: uuid::Uuid::new_v4().to_string(),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        pid: std::process::id(),
    }
}
