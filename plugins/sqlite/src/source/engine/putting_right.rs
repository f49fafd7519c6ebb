//! Capture that is not as it was: it is put right, and what was missed is read again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use api::PlannedStream;
use model::StreamId;

use super::{Engine, Reread, Setup};
use crate::capture::install::{self, Occasion};
use crate::capture::marks;
use crate::capture::verdict::Verdict;
use crate::error::Result;
use crate::source::log::LogReader;
use crate::source::shape::StreamShape;

impl Engine {
    /// Compares capture with what should be there, makes it so, and notes what must be read again.
    pub(super) fn put_right(&mut self) -> Result<()> {
        let Setup {
            conn,
            names,
            plan,
            captured,
            ..
        } = &mut self.setup;
        let history = captured.history.clone();
        let streams: Vec<String> = plan
            .streams
            .iter()
            .map(|planned| planned.id.name().to_owned())
            .collect();
        *captured = install::ensure(
            conn,
            names,
            &streams,
            Occasion::Reading {
                verified: self.verified,
            },
        )?;
        if captured.history != history {
            return Err(self.gone("the change table"));
        }
        self.issued = marks::issued(&self.setup.conn, &self.setup.names)?;
        self.triggers_checked_at = Instant::now();
        self.setup
            .shared
            .schema_version
            .store(self.setup.captured.schema_version, Ordering::Release);
        self.log = log_reader(&self.setup, self.is_utf8, self.incarnation)?;
        for (stream, verdict) in self.setup.captured.verdicts.clone() {
            self.take_verdict(&stream, &verdict);
        }
        Ok(())
    }

    fn take_verdict(&mut self, stream: &str, verdict: &Verdict) {
        let pipeline = self.setup.names.pipeline();
        let planned = self
            .setup
            .plan
            .streams
            .iter()
            .find(|planned| planned.id.name() == stream);
        let Some(PlannedStream { id, .. }) = planned.cloned() else {
            return;
        };
        let since = self.setup.captured.current(stream).map(|layout| layout.since);
        match verdict {
            Verdict::Intact => return,
            Verdict::Evolved {
                added,
                dropped,
                refreshed,
            } => {
                tracing::info!(
                    code = "N0213",
                    pipeline,
                    stream,
                    ?added,
                    ?dropped,
                    refreshed,
                    "the table's shape changed"
                );
                return;
            }
            Verdict::Gone => {
                tracing::warn!(
                    code = "W0212",
                    pipeline,
                    stream,
                    "the table is gone; destinations keep its rows"
                );
            }
            Verdict::Installed => {
                tracing::warn!(code = "W0210", pipeline, stream, "the table is back; it is read again");
            }
            Verdict::Reread(reason) => {
                tracing::warn!(
                    code = "W0210",
                    pipeline,
                    stream,
                    reason = reason.describe(),
                    "the stream is read again"
                );
            }
        }
        self.reads.retain(|read| read.stream != id);
        self.rereads.retain(|reread| reread.stream != id);
        if let Some(at) = since {
            self.rereads.push(Reread {
                stream: id,
                at,
                destinations: None,
            });
        }
        self.publish_reads();
    }

    pub(super) fn current_shape(&self, stream: &StreamId) -> Option<Arc<StreamShape>> {
        let layout = self.setup.captured.current(stream.name())?;
        self.log.shape(layout.number).cloned()
    }
}

/// The shapes of all layouts that the plan wants.
pub(super) fn log_reader(setup: &Setup, is_utf8: bool, incarnation: u32) -> Result<LogReader> {
    let mut shapes = HashMap::new();
    let mut width = 1;
    for layout in setup.captured.layouts.values() {
        width = width.max(layout.table.columns.len());
        let planned = setup
            .plan
            .streams
            .iter()
            .find(|planned| planned.id.name().eq_ignore_ascii_case(&layout.stream));
        if let Some(planned) = planned {
            let shape = StreamShape::new(layout.table.clone(), planned, is_utf8)?;
            shapes.insert(layout.number, Arc::new(shape));
        }
    }
    Ok(LogReader::new(&setup.names, shapes, width, incarnation))
}
