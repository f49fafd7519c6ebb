//! `highwater version`

use serde_json::json;

use super::Cx;
use crate::build;
use crate::exit::{Ended, Exit};

pub(super) fn version(cx: &Cx) -> Ended {
    if cx.terminal.is_json() {
        cx.answer_json(
            true,
            json!({"version": build::VERSION, "commit": build::COMMIT, "rustc": build::RUSTC}),
        );
    } else {
        cx.terminal.answer(format!(
            "highwater {} (commit {}, rustc {})",
            build::VERSION,
            build::COMMIT,
            build::RUSTC
        ));
    }
    Ok(Exit::Done)
}
