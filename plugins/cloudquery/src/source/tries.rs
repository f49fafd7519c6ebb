//! How often a plugin is tried before its pipeline ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use api::Retry;

use crate::error::Error;

/// A plugin that fails a third time in a row has a reason that more tries do not take away, and each of them reads its
/// system again from the beginning.
const TRIES_MAX: u32 = 3;

/// Syncs that failed in a row, over all openings of one source.
#[derive(Debug, Default, Clone)]
pub(super) struct Tries(Arc<AtomicU32>);

impl Tries {
    /// Counts a failure; the last one ends the pipeline.
    pub(super) fn failed(&self, error: Error) -> api::Error {
        let plugin = error.plugin().to_owned();
        let error = api::Error::from(error);
        if error.retry() != Retry::After {
            return error;
        }
        let tries = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        if tries < TRIES_MAX {
            return error;
        }
        let message = format!("cannot read plugin `{plugin}`: {tries} syncs in a row failed");
        api::Error::new(error.code(), Retry::Never, message).caused_by(error)
    }

    /// A sync came to its end.
    pub(super) fn succeeded(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(tries: &Tries) -> api::Error {
        tries.failed(Error::LostBatch {
            plugin: "it".to_owned(),
            line: "lost".to_owned(),
        })
    }

    #[test]
    fn only_the_third_failure_in_a_row_is_the_last() {
        let tries = Tries::default();
        assert_eq!(fail(&tries).retry(), Retry::After);
        assert_eq!(fail(&tries).retry(), Retry::After);
        tries.succeeded();
        assert_eq!(fail(&tries).retry(), Retry::After);
        assert_eq!(fail(&tries).retry(), Retry::After);
        let last = fail(&tries);
        assert_eq!((last.retry(), last.code()), (Retry::Never, "E0808"));
        assert!(
            last.chain()
                .contains("3 syncs in a row failed: cannot commit in plugin `it`"),
            "{last:?}"
        );
    }

    #[test]
    fn what_an_operator_must_mend_is_not_counted() {
        let tries = Tries::default();
        for _ in 0..4 {
            let error = tries.failed(Error::Version {
                plugin: "it".to_owned(),
                versions: vec![1],
            });
            assert_eq!(error.retry(), Retry::Operator);
        }
    }
}
