//! What can be seen from outside before anything is written.

use std::path::Path;

use rustix::fs::{Access, access};

use crate::error::Error;
use crate::layout::LEDGERS;

/// What would keep the destination from opening. Changes nothing.
pub(crate) fn findings(root: &Path) -> Vec<api::Error> {
    let mut findings = Vec::new();
    let existing = root
        .ancestors()
        .find(|path| path.exists() && !path.as_os_str().is_empty());
    let existing = existing.unwrap_or(Path::new("."));
    if !existing.is_dir() {
        let path = existing.to_owned();
        findings.push(Error::NotADirectory { path }.into());
        return findings;
    }
    let ledger = root.join(LEDGERS);
    for path in [existing, ledger.as_path()].into_iter().filter(|path| path.exists()) {
        if let Err(errno) = access(path, Access::WRITE_OK | Access::EXEC_OK) {
            findings.push(Error::io("write to", path)(errno.into()).into());
        }
    }
    findings
}
