//! Putting capture into a database, comparing it with what should be there, and putting it right.
//!
//! One function does all of it, [`ensure`], in one transaction: at the first start, at every start, and whenever
//! `schema_version` has moved (every DDL and every VACUUM moves it). What it finds decides what is to be read again:
//!
//! | found | done | verdict |
//! |---|---|---|
//! | triggers, columns and unique keys as they were | nothing | `Intact` |
//! | no layout yet | triggers are made | `Installed` |
//! | columns added (default NULL) or dropped | triggers are made anew; rows changed in the gap are written again | `Evolved` |
//! | a unique key came or went | triggers are made anew | `Evolved`, or `Reread` if rows changed in the gap |
//! | triggers missing, on another table, of another text | triggers are made anew | `Reread` |
//! | columns renamed, retyped, added with a default | triggers are made anew | `Reread` |
//! | a user's trigger newer than ours, which fires first | triggers are made anew | `Reread` |
//! | no such table | triggers are removed | `Gone` |

use std::collections::BTreeMap;

use rusqlite::{Connection, TransactionBehavior};

use super::layout::{Layout, actual_triggers, drop_triggers, load_layouts};
use super::marks;
use super::meta::{has_table, is_installed, meta, renew_history, run, schema_version, set_meta, unreadable};
use super::names::Names;
use super::removal::Full;
use super::verdict::Verdict;
use crate::error::{Error, Result, sql};

/// The version of what is stored; see [`super`].
const FORMAT: &str = "1";

/// The state of capture after [`ensure`].
#[derive(Debug, Clone)]
pub(crate) struct Captured {
    /// The random name of this log; another name, another history.
    pub(crate) history: String,
    /// All layouts that change rows may refer to.
    pub(crate) layouts: BTreeMap<i64, Layout>,
    pub(crate) verdicts: Vec<(String, Verdict)>,
    pub(crate) schema_version: i64,
    /// Set when capture was given up at an earlier time because the change table was full; it has been set up anew.
    pub(crate) stopped_before: bool,
}

impl Captured {
    /// The layout that writes for `stream` now.
    pub(crate) fn current(&self, stream: &str) -> Option<&Layout> {
        self.layouts
            .values()
            .find(|l| l.stream.eq_ignore_ascii_case(stream) && l.retired.is_none())
    }
}

/// When capture is put right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// The source is opened: capture that was given up begins anew, with a new history.
    Opening,
    /// The source is being read: capture that was given up stays so, and is an error.
    Reading {
        /// The newest `seq` at which all of capture was seen to be in order; rows after it may have been written while it
        /// was not. 0 if that is not known.
        verified: i64,
    },
}

/// Makes capture of `streams` (and of nothing else) what it should be, in one transaction.
pub(crate) fn ensure(conn: &mut Connection, names: &Names, streams: &[String], occasion: Occasion) -> Result<Captured> {
    fail::fail_point!("sqlite.source.before_install");
    // Marks are written only while capture is in order, so the newest one says how far it was. It is looked for before
    // anything is locked: that walks over all that was written since.
    let newest_mark = match is_installed(conn, names)? {
        true => marks::newest(conn, names)?,
        false => None,
    };
    let tx = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(sql("begin a transaction to set up capture"))?;
    let mut work = Work {
        conn: &tx,
        names,
        occasion,
        newest_mark,
        verified: 0,
        did_write: false,
    };
    let captured = work.ensure(streams)?;
    let did_write = work.did_write;
    if did_write {
        tx.commit().map_err(sql("commit the set-up of capture"))?;
    } else {
        tx.rollback().map_err(sql("end a transaction"))?;
    }
    fail::fail_point!("sqlite.source.after_install");
    Ok(captured)
}

/// Whether the triggers of all current layouts have their text; finds what moves no `schema_version`.
pub(crate) fn triggers_are_in_place(conn: &Connection, captured: &Captured) -> Result<bool> {
    for layout in captured.layouts.values().filter(|layout| layout.retired.is_none()) {
        let found = actual_triggers(conn, layout)?;
        let same = |(name, text): (&String, &String)| {
            found
                .get(name)
                .is_some_and(|(table, found)| table.eq_ignore_ascii_case(&layout.table.name) && found == text)
        };
        if !layout.triggers.iter().all(same) {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) struct Work<'a> {
    pub(super) conn: &'a Connection,
    pub(super) names: &'a Names,
    pub(super) occasion: Occasion,
    /// As it was before the transaction began.
    pub(super) newest_mark: Option<marks::Mark>,
    /// Up to here capture was in order.
    pub(super) verified: i64,
    pub(super) did_write: bool,
}

impl Work<'_> {
    fn ensure(&mut self, streams: &[String]) -> Result<Captured> {
        let stopped_before = self.ensure_tables()?;
        let mut layouts = load_layouts(self.conn, self.names)?;
        self.verified = self.verified()?;
        let mut verdicts = Vec::with_capacity(streams.len());
        let wanted = |layout: &Layout| streams.iter().any(|s| s.eq_ignore_ascii_case(&layout.stream));
        let unwanted: Vec<i64> = layouts
            .values()
            .filter(|l| l.retired.is_none() && !wanted(l))
            .map(|l| l.number)
            .collect();
        for number in unwanted {
            self.retire(&mut layouts, number)?;
        }
        for stream in streams {
            let verdict = self.ensure_stream(&mut layouts, stream)?;
            verdicts.push((stream.clone(), verdict));
        }
        if self.did_write {
            // The commit of this mark is the point at which the new triggers took over.
            let mark = marks::write(self.conn, self.names)?;
            let number = |(_, verdict): &&(String, Verdict)| !matches!(verdict, Verdict::Intact);
            for (stream, verdict) in verdicts.iter().filter(number) {
                let keeps = matches!(verdict, Verdict::Evolved { .. });
                self.settle(&mut layouts, stream, mark.seq, keeps)?;
            }
        }
        Ok(Captured {
            history: meta(self.conn, self.names, "history")?.unwrap_or_default(),
            layouts,
            verdicts,
            schema_version: schema_version(self.conn)?,
            stopped_before,
        })
    }

    /// Up to which `seq` capture is known to have been in order.
    fn verified(&self) -> Result<i64> {
        let seen = match self.occasion {
            Occasion::Opening => 0,
            Occasion::Reading { verified } => verified,
        };
        match self.newest_mark {
            // Somebody may have made the tables anew since it was looked for.
            Some(mark) if marks::is_there(self.conn, self.names, mark)? => Ok(seen.max(mark.seq)),
            _ => Ok(seen),
        }
    }

    /// Makes our tables. If some are missing or capture was stopped, what was captured is worth nothing: a new history.
    fn ensure_tables(&mut self) -> Result<bool> {
        let all = [
            self.names.changes_plain(),
            self.names.stage_plain(),
            self.names.meta_plain(),
            self.names.layouts_plain(),
        ];
        let mut found = 0;
        for table in &all {
            found += usize::from(has_table(self.conn, table)?);
        }
        let mut stopped_before = false;
        if found == all.len() {
            self.check_ours()?;
            match (meta(self.conn, self.names, "stopped")?, self.occasion) {
                (None, _) => return Ok(false),
                (Some(_), Occasion::Opening) => stopped_before = true,
                (Some(note), Occasion::Reading { .. }) => {
                    let full: Full = serde_json::from_str(&note).map_err(|e| unreadable(self.conn, &e))?;
                    return Err(full.error(self.conn));
                }
            }
        }
        self.did_write = true;
        if has_table(self.conn, &self.names.layouts_plain())? {
            for layout in load_layouts(self.conn, self.names)?.values() {
                drop_triggers(self.conn, layout)?;
            }
        }
        let (changes, stage, meta, layouts) = (
            self.names.changes(),
            self.names.stage(),
            self.names.meta(),
            self.names.layouts(),
        );
        for table in [&changes, &stage, &meta, &layouts] {
            run(
                self.conn,
                &format!("DROP TABLE IF EXISTS main.{table}"),
                "remove an incomplete change table",
            )?;
        }
        for text in [
            format!("CREATE TABLE main.{changes}(seq INTEGER PRIMARY KEY AUTOINCREMENT, layout, op, at, n0, o0)"),
            format!("CREATE TABLE main.{stage}(layout, id, v0)"),
            format!("CREATE TABLE main.{meta}(key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID"),
            format!(
                "CREATE TABLE main.{layouts}(number INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT, definition TEXT, \
                 triggers TEXT, since INTEGER, retired INTEGER)"
            ),
        ] {
            run(self.conn, &text, "create the change table")?;
        }
        set_meta(self.conn, self.names, "format", FORMAT)?;
        set_meta(self.conn, self.names, "pipeline", self.names.pipeline())?;
        set_meta(self.conn, self.names, "pruned", "0")?;
        renew_history(self.conn, self.names)?;
        Ok(stopped_before)
    }

    fn check_ours(&self) -> Result<()> {
        let refuse = |why| Error::NotOurs {
            path: crate::connection::path_of(self.conn),
            why,
        };
        let format = meta(self.conn, self.names, "format")?.unwrap_or_default();
        if format != FORMAT {
            return Err(refuse(format!(
                "its format is `{format}`, this version of highwater writes `{FORMAT}`"
            )));
        }
        let owner = meta(self.conn, self.names, "pipeline")?.unwrap_or_default();
        if owner != self.names.pipeline() {
            return Err(refuse(format!(
                "it belongs to pipeline `{owner}`, not to `{}`",
                self.names.pipeline()
            )));
        }
        Ok(())
    }
}
