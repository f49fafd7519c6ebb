//! What our objects in the user's database are called.

use crate::sql_text::quoted;

/// Everything that Highwater puts into a database starts with this; such tables are never streams.
pub(crate) const PREFIX: &str = "_highwater_";

/// The names of one pipeline's objects. Each pipeline has objects of its own, so that several can read one database and
/// each prunes and forgets for itself.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pipeline: String,
}

impl Names {
    pub(crate) fn of_pipeline(pipeline: &str) -> Self {
        Names {
            pipeline: pipeline.to_owned(),
        }
    }

    pub(crate) fn pipeline(&self) -> &str {
        &self.pipeline
    }

    fn plain(&self, what: &str) -> String {
        format!("{PREFIX}{}_{what}", self.pipeline)
    }

    /// The change table, unquoted: what `sqlite_sequence` and `sqlite_schema` call it.
    pub(crate) fn changes_plain(&self) -> String {
        self.plain("changes")
    }

    /// The change table.
    pub(crate) fn changes(&self) -> String {
        quoted(&self.changes_plain())
    }

    /// Rows that the running statement may be about to replace, unquoted.
    pub(crate) fn stage_plain(&self) -> String {
        self.plain("stage")
    }

    /// Rows that the running statement may be about to replace.
    pub(crate) fn stage(&self) -> String {
        quoted(&self.stage_plain())
    }

    /// Key and value: format, pipeline, history, how far it is pruned; unquoted.
    pub(crate) fn meta_plain(&self) -> String {
        self.plain("meta")
    }

    /// Key and value: format, pipeline, history, how far it is pruned.
    pub(crate) fn meta(&self) -> String {
        quoted(&self.meta_plain())
    }

    /// Which table and which columns a layout number in the change table stands for; unquoted.
    pub(crate) fn layouts_plain(&self) -> String {
        self.plain("layouts")
    }

    /// Which table and which columns a layout number in the change table stands for.
    pub(crate) fn layouts(&self) -> String {
        quoted(&self.layouts_plain())
    }

    /// One trigger of a layout, unquoted.
    pub(crate) fn trigger(&self, layout: i64, kind: &str) -> String {
        self.plain(&format!("{layout}_{kind}"))
    }
}

/// Whether a table or trigger is one of ours, of whichever pipeline. SQLite's names know no case.
pub(crate) fn is_ours(name: &str) -> bool {
    name.get(..PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}
