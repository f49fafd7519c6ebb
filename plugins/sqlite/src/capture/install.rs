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

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

use super::marks;
use super::names::{Names, is_ours};
use super::table::{Identity, Table};
use super::triggers::{ChangeOp, NOW, columns_of, triggers};
use crate::error::{Error, Result, sql};
use crate::sql_text::quoted;

/// The version of what is stored; see [`super`].
const FORMAT: &str = "1";

/// One version of a captured table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) number: i64,
    pub(crate) stream: String,
    pub(crate) table: Table,
    /// From this `seq` on nothing of the stream was missed: a destination below it has to read the stream again.
    pub(crate) since: i64,
    /// The `seq` at which the next layout took over.
    pub(crate) retired: Option<i64>,
    triggers: BTreeMap<String, String>,
}

/// Why a stream has to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RereadReason {
    Recreated,
    Renamed,
    ColumnsChanged,
    AddedWithDefault,
    TriggerNewer,
    UniqueChanged,
    KeyChanged,
}

impl RereadReason {
    /// A clause for the log.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            RereadReason::Recreated => "the table was re-created or its triggers were removed",
            RereadReason::Renamed => "the table was renamed and another took its name",
            RereadReason::ColumnsChanged => "columns were renamed, reordered or changed their type",
            RereadReason::AddedWithDefault => "a column was added that has values in existing rows",
            RereadReason::TriggerNewer => "a trigger was added that fires before ours",
            RereadReason::UniqueChanged => "a unique key was added while rows changed",
            RereadReason::KeyChanged => "the primary key changed",
        }
    }
}

/// What became of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Intact,
    Installed,
    /// The columns changed; nothing was missed.
    Evolved {
        added: Vec<String>,
        dropped: Vec<String>,
        refreshed: usize,
    },
    Reread(RereadReason),
    Gone,
}

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

/// Removes everything of the pipeline: triggers, change table and companions. Idempotent.
pub(crate) fn remove(conn: &mut Connection, names: &Names) -> Result<()> {
    fail::fail_point!("sqlite.source.before_forget");
    let tx = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(sql("begin a transaction to remove capture"))?;
    if has_table(&tx, &names.layouts_plain())? {
        for layout in load_layouts(&tx, names)?.values() {
            drop_triggers(&tx, layout)?;
        }
    }
    for table in [names.changes(), names.stage(), names.meta(), names.layouts()] {
        run(
            &tx,
            &format!("DROP TABLE IF EXISTS main.{table}"),
            "remove the change table",
        )?;
    }
    tx.commit().map_err(sql("commit the removal of capture"))?;
    fail::fail_point!("sqlite.source.after_forget");
    Ok(())
}

/// How full a change table was when capture was given up. Stored as JSON under `stopped`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Full {
    pub(crate) rows: u64,
    pub(crate) rows_max: u64,
}

impl Full {
    pub(crate) fn error(self, conn: &Connection) -> Error {
        Error::ChangesFull {
            path: crate::connection::path_of(conn),
            rows: self.rows,
            rows_max: self.rows_max,
        }
    }
}

/// Removes the triggers of a pipeline whose change table is full, and leaves a note; the user's writes go on.
pub(crate) fn stop(conn: &mut Connection, names: &Names, full: Full) -> Result<()> {
    fail::fail_point!("sqlite.source.before_stop_capture");
    let note = serde_json::to_string(&full).map_err(|e| internal(conn, &e))?;
    let tx = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(sql("begin a transaction to stop capture"))?;
    for layout in load_layouts(&tx, names)?
        .values()
        .filter(|layout| layout.retired.is_none())
    {
        drop_triggers(&tx, layout)?;
    }
    set_meta(&tx, names, "stopped", &note)?;
    tx.commit().map_err(sql("commit the end of capture"))?;
    fail::fail_point!("sqlite.source.after_stop_capture");
    Ok(())
}

/// The `schema_version` that a view shows.
pub(crate) fn schema_version(conn: &Connection) -> Result<i64> {
    conn.prepare_cached("PRAGMA main.schema_version")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(sql("read the schema version"))
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

struct Work<'a> {
    conn: &'a Connection,
    names: &'a Names,
    occasion: Occasion,
    /// As it was before the transaction began.
    newest_mark: Option<marks::Mark>,
    /// Up to here capture was in order.
    verified: i64,
    did_write: bool,
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
                    let full: Full = serde_json::from_str(&note).map_err(|e| internal(self.conn, &e))?;
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

    fn ensure_stream(&mut self, layouts: &mut BTreeMap<i64, Layout>, stream: &str) -> Result<Verdict> {
        let table = Table::describe(self.conn, stream)?;
        let current = layouts
            .values()
            .find(|l| l.retired.is_none() && l.stream.eq_ignore_ascii_case(stream))
            .cloned();
        match (table, current) {
            (None, None) => Ok(Verdict::Gone),
            (None, Some(layout)) => {
                self.retire(layouts, layout.number)?;
                Ok(Verdict::Gone)
            }
            (Some(table), None) => {
                self.install(layouts, stream, table)?;
                Ok(Verdict::Installed)
            }
            (Some(table), Some(layout)) => {
                let verdict = self.judge(&table, &layout)?;
                if verdict == Verdict::Intact {
                    return Ok(verdict);
                }
                self.retire(layouts, layout.number)?;
                let number = self.install(layouts, stream, table)?;
                match verdict {
                    Verdict::Evolved { added, dropped, .. } => {
                        // Dropped columns leave nothing to catch up with.
                        let refreshed = if added.is_empty() {
                            0
                        } else {
                            self.refresh(layouts, layout.number, number)?
                        };
                        if let Some(new) = layouts.get_mut(&number) {
                            new.since = layout.since;
                        }
                        Ok(Verdict::Evolved {
                            added,
                            dropped,
                            refreshed,
                        })
                    }
                    other => Ok(other),
                }
            }
        }
    }

    /// Compares what is there with what was made.
    fn judge(&self, now: &Table, layout: &Layout) -> Result<Verdict> {
        let found = actual_triggers(self.conn, layout)?;
        for (name, text) in &layout.triggers {
            match found.get(name) {
                None => return Ok(Verdict::Reread(RereadReason::Recreated)),
                Some((table, _)) if !table.eq_ignore_ascii_case(&now.name) => {
                    return Ok(Verdict::Reread(RereadReason::Renamed));
                }
                Some((_, actual)) if actual != text => return Ok(Verdict::Reread(RereadReason::ColumnsChanged)),
                Some(_) => {}
            }
        }
        if self.has_newer_trigger(layout)? {
            return Ok(Verdict::Reread(RereadReason::TriggerNewer));
        }
        Ok(match compare(&layout.table, now) {
            Shape::Same => Verdict::Intact,
            Shape::Evolved { added, dropped } => Verdict::Evolved {
                added,
                dropped,
                refreshed: 0,
            },
            Shape::Uniques { only_fewer } if only_fewer || !self.has_gap_rows(layout)? => Verdict::Evolved {
                added: Vec::new(),
                dropped: Vec::new(),
                refreshed: 0,
            },
            Shape::Uniques { .. } => Verdict::Reread(RereadReason::UniqueChanged),
            Shape::Other(reason) => Verdict::Reread(reason),
        })
    }

    /// Whether the table has a trigger of the user's that fires before ours: the newest fires first.
    fn has_newer_trigger(&self, layout: &Layout) -> Result<bool> {
        let mut newest_of_others = 0;
        let mut oldest_of_ours = i64::MAX;
        self.conn
            .prepare_cached(
                "SELECT rowid, name FROM main.sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE",
            )
            .and_then(|mut statement| {
                let mut rows = statement.query([&layout.table.name])?;
                while let Some(row) = rows.next()? {
                    let (rowid, name): (i64, String) = (row.get(0)?, row.get(1)?);
                    if layout.triggers.contains_key(&name) {
                        oldest_of_ours = oldest_of_ours.min(rowid);
                    } else if !is_ours(&name) {
                        newest_of_others = newest_of_others.max(rowid);
                    }
                }
                Ok(())
            })
            .map_err(sql("read the triggers of a table"))?;
        Ok(newest_of_others > oldest_of_ours)
    }

    /// Whether rows of the layout were inserted or updated since all was seen to be in order.
    fn has_gap_rows(&self, layout: &Layout) -> Result<bool> {
        self.conn
            .query_row(
                &format!(
                    "SELECT EXISTS (SELECT 1 FROM main.{} WHERE seq > ?1 AND layout = ?2 AND op IN ({}, {}))",
                    self.names.changes(),
                    ChangeOp::Insert as i64,
                    ChangeOp::Update as i64
                ),
                [self.verified, layout.number],
                |row| row.get(0),
            )
            .map_err(sql("read the change table"))
    }

    /// Writes the rows that were changed in the gap once more, as they stand, under the new layout.
    fn refresh(&mut self, layouts: &BTreeMap<i64, Layout>, old: i64, new: i64) -> Result<usize> {
        let (Some(old), Some(new)) = (layouts.get(&old), layouts.get(&new)) else {
            return Ok(0);
        };
        if !self.has_gap_rows(old)? {
            return Ok(0);
        }
        let len = new.table.columns.len();
        let columns: Vec<String> = new
            .table
            .columns
            .iter()
            .map(|column| format!("t.{}", quoted(&column.name)))
            .collect();
        let columns = columns.join(", ");
        let (of_table, of_log): (Vec<String>, Vec<String>) = old
            .table
            .key
            .iter()
            .map(|key| {
                let name = quoted(&old.table.columns[key.column].name);
                (format!("t.{name}"), format!("n{}", key.column))
            })
            .unzip();
        let changed = format!(
            "SELECT {} FROM main.{} WHERE seq > {} AND layout = {} AND op IN ({}, {})",
            of_log.join(", "),
            self.names.changes(),
            self.verified,
            old.number,
            ChangeOp::Insert as i64,
            ChangeOp::Update as i64,
        );
        let text = format!(
            "INSERT INTO main.{}(layout, op, at, {}, {}) SELECT {}, {}, {NOW}, {columns}, {columns} FROM main.{} AS t WHERE ({}) IN ({changed})",
            self.names.changes(),
            columns_of("n", len),
            columns_of("o", len),
            new.number,
            ChangeOp::Refresh as i64,
            new.table.quoted_name(),
            of_table.join(", "),
        );
        run(self.conn, &text, "write changed rows again")
    }

    fn install(&mut self, layouts: &mut BTreeMap<i64, Layout>, stream: &str, table: Table) -> Result<i64> {
        self.did_write = true;
        self.widen(table.columns.len())?;
        let definition = serde_json::to_string(&table).map_err(|e| internal(self.conn, &e))?;
        let number: i64 = self
            .conn
            .query_row(
                &format!(
                    "INSERT INTO main.{}(stream, definition, triggers, since) VALUES (?1, ?2, '{{}}', 0) RETURNING number",
                    self.names.layouts()
                ),
                params![stream, definition],
                |row| row.get(0),
            )
            .map_err(sql("record a captured table"))?;
        for (_, text) in triggers(&table, number, self.names) {
            run(self.conn, &text, "create a trigger")?;
        }
        let mut layout = Layout {
            number,
            stream: stream.to_owned(),
            table,
            since: 0,
            retired: None,
            triggers: BTreeMap::new(),
        };
        for (name, _) in triggers(&layout.table, number, self.names) {
            layout.triggers.insert(name, String::new());
        }
        layout.triggers = actual_triggers(self.conn, &layout)?
            .into_iter()
            .map(|(name, (_, text))| (name, text))
            .collect();
        let texts = serde_json::to_string(&layout.triggers).map_err(|e| internal(self.conn, &e))?;
        self.conn
            .execute(
                &format!(
                    "UPDATE main.{} SET triggers = ?1 WHERE number = ?2",
                    self.names.layouts()
                ),
                params![texts, number],
            )
            .map_err(sql("record the triggers of a table"))?;
        layouts.insert(number, layout);
        Ok(number)
    }

    /// The change table and the stage get as many columns as the widest table has.
    fn widen(&self, len: usize) -> Result<()> {
        let width = |table: &str, prefix: &str| -> Result<usize> {
            self.conn
                .query_row(
                    "SELECT count(*) FROM pragma_table_info(?1, 'main') WHERE name GLOB ?2",
                    params![table, format!("{prefix}[0-9]*")],
                    |row| row.get::<_, i64>(0),
                )
                .map(|count| usize::try_from(count).unwrap_or(0))
                .map_err(sql("read the columns of the change table"))
        };
        for (table, prefix) in [
            (self.names.changes_plain(), "n"),
            (self.names.changes_plain(), "o"),
            (self.names.stage_plain(), "v"),
        ] {
            for column in width(&table, prefix)?..len {
                let text = format!("ALTER TABLE main.{} ADD COLUMN {prefix}{column}", quoted(&table));
                run(self.conn, &text, "widen the change table")?;
            }
        }
        Ok(())
    }

    fn retire(&mut self, layouts: &mut BTreeMap<i64, Layout>, number: i64) -> Result<()> {
        self.did_write = true;
        if let Some(layout) = layouts.get_mut(&number) {
            drop_triggers(self.conn, layout)?;
            let head = marks::head(self.conn, self.names)?;
            layout.retired = Some(head);
            self.conn
                .execute(
                    &format!(
                        "UPDATE main.{} SET retired = ?1 WHERE number = ?2",
                        self.names.layouts()
                    ),
                    [head, number],
                )
                .map_err(sql("retire a captured table"))?;
        }
        Ok(())
    }

    /// Writes down from where on a new layout is without a gap.
    fn settle(&self, layouts: &mut BTreeMap<i64, Layout>, stream: &str, mark: i64, keeps: bool) -> Result<()> {
        let current = layouts
            .values_mut()
            .find(|l| l.retired.is_none() && l.stream.eq_ignore_ascii_case(stream));
        let Some(layout) = current else {
            return Ok(());
        };
        if !keeps {
            layout.since = mark;
        }
        self.conn
            .execute(
                &format!("UPDATE main.{} SET since = ?1 WHERE number = ?2", self.names.layouts()),
                [layout.since, layout.number],
            )
            .map_err(sql("record a captured table"))?;
        Ok(())
    }
}

enum Shape {
    Same,
    Evolved { added: Vec<String>, dropped: Vec<String> },
    Uniques { only_fewer: bool },
    Other(RereadReason),
}

/// What `now` is compared with `before`, where the triggers' text is unchanged (so nothing was renamed).
fn compare(before: &Table, now: &Table) -> Shape {
    if before == now {
        return Shape::Same;
    }
    let same_place = |a: &Table, b: &Table| {
        let place = |t: &Table| -> Vec<(String, String)> {
            t.key
                .iter()
                .map(|k| (t.columns[k.column].name.clone(), k.collation.clone()))
                .collect()
        };
        let is_rowid = |t: &Table| matches!(t.identity, Identity::Rowid { .. });
        place(a) == place(b) && is_rowid(a) == is_rowid(b)
    };
    if !same_place(before, now) {
        return Shape::Other(RereadReason::KeyChanged);
    }
    let names = |t: &Table| -> Vec<(String, String)> {
        t.columns.iter().map(|c| (c.name.clone(), c.declared.clone())).collect()
    };
    if names(before) == names(now) {
        let only_fewer = now.uniques.iter().all(|unique| before.uniques.contains(unique));
        return Shape::Uniques { only_fewer };
    }
    // Columns that stayed keep their order, and new ones come last: all that ALTER TABLE can do.
    let kept: Vec<_> = now.columns.iter().take_while(|c| is_in(before, c)).collect();
    let added = &now.columns[kept.len()..];
    let stayed: Vec<_> = before.columns.iter().filter(|c| is_in(now, c)).collect();
    let in_order = kept.len() == stayed.len() && kept.iter().zip(&stayed).all(|(a, b)| a.name == b.name);
    if !in_order || added.iter().any(|c| is_in(before, c)) {
        return Shape::Other(RereadReason::ColumnsChanged);
    }
    let is_null = |default: &Option<String>| default.as_ref().is_none_or(|text| text.eq_ignore_ascii_case("null"));
    if added.iter().any(|c| c.is_generated || !is_null(&c.default)) {
        return Shape::Other(RereadReason::AddedWithDefault);
    }
    if before.key.is_empty() && !added.is_empty() {
        // Without a key the rows of the gap cannot be found again.
        return Shape::Other(RereadReason::ColumnsChanged);
    }
    Shape::Evolved {
        added: added.iter().map(|c| c.name.clone()).collect(),
        dropped: before
            .columns
            .iter()
            .filter(|c| !is_in(now, c))
            .map(|c| c.name.clone())
            .collect(),
    }
}

fn is_in(table: &Table, column: &super::table::Column) -> bool {
    table
        .columns
        .iter()
        .any(|c| c.name == column.name && c.declared == column.declared)
}

fn has_table(conn: &Connection, name: &str) -> Result<bool> {
    conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE)",
    )
    .and_then(|mut statement| statement.query_row([name], |row| row.get(0)))
    .map_err(sql("read the schema"))
}

/// Whether this pipeline has all of its objects in the database.
pub(crate) fn is_installed(conn: &Connection, names: &Names) -> Result<bool> {
    for table in [
        names.changes_plain(),
        names.stage_plain(),
        names.meta_plain(),
        names.layouts_plain(),
    ] {
        if !has_table(conn, &table)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn actual_triggers(conn: &Connection, layout: &Layout) -> Result<BTreeMap<String, (String, String)>> {
    let mut found = BTreeMap::new();
    for name in layout.triggers.keys() {
        let row = conn
            .prepare_cached("SELECT tbl_name, sql FROM main.sqlite_schema WHERE type = 'trigger' AND name = ?1")
            .and_then(|mut statement| {
                statement
                    .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()
            })
            .map_err(sql("read a trigger"))?;
        if let Some(row) = row {
            found.insert(name.clone(), row);
        }
    }
    Ok(found)
}

fn drop_triggers(conn: &Connection, layout: &Layout) -> Result<()> {
    for name in layout.triggers.keys() {
        run(
            conn,
            &format!("DROP TRIGGER IF EXISTS main.{}", quoted(name)),
            "remove a trigger",
        )?;
    }
    Ok(())
}

fn load_layouts(conn: &Connection, names: &Names) -> Result<BTreeMap<i64, Layout>> {
    let rows = conn
        .prepare(&format!(
            "SELECT number, stream, definition, triggers, since, retired FROM main.{} ORDER BY number",
            names.layouts()
        ))
        .and_then(|mut statement| {
            statement
                .query_map([], |row| {
                    Ok((
                        row.get::<_, i64>(0)?,
                        row.get::<_, String>(1)?,
                        row.get::<_, String>(2)?,
                        row.get::<_, String>(3)?,
                        row.get::<_, i64>(4)?,
                        row.get::<_, Option<i64>>(5)?,
                    ))
                })?
                .collect::<rusqlite::Result<Vec<_>>>()
        })
        .map_err(sql("read the captured tables"))?;
    rows.into_iter()
        .map(|(number, stream, definition, triggers, since, retired)| {
            let table = serde_json::from_str(&definition).map_err(|e| internal(conn, &e))?;
            let triggers = serde_json::from_str(&triggers).map_err(|e| internal(conn, &e))?;
            Ok((
                number,
                Layout {
                    number,
                    stream,
                    table,
                    since,
                    retired,
                    triggers,
                },
            ))
        })
        .collect()
}

fn internal(conn: &Connection, error: &serde_json::Error) -> Error {
    Error::NotOurs {
        path: crate::connection::path_of(conn),
        why: format!("a table's definition is unreadable: {error}"),
    }
}

/// One value of the pipeline's `meta` table.
pub(crate) fn meta(conn: &Connection, names: &Names, key: &str) -> Result<Option<String>> {
    conn.prepare_cached(&format!("SELECT value FROM main.{} WHERE key = ?1", names.meta()))
        .and_then(|mut statement| statement.query_row([key], |row| row.get(0)).optional())
        .map_err(sql("read the state of capture"))
}

pub(crate) fn set_meta(conn: &Connection, names: &Names, key: &str, value: &str) -> Result<()> {
    conn.prepare_cached(&format!(
        "INSERT OR REPLACE INTO main.{}(key, value) VALUES (?1, ?2)",
        names.meta()
    ))
    .and_then(|mut statement| statement.execute([key, value]))
    .map_err(sql("write the state of capture"))?;
    Ok(())
}

/// Gives the log a new random name: nobody's position fits it any more.
pub(crate) fn renew_history(conn: &Connection, names: &Names) -> Result<String> {
    let history = uuid::Uuid::new_v4().simple().to_string();
    set_meta(conn, names, "history", &history)?;
    Ok(history)
}

fn run(conn: &Connection, text: &str, doing: &'static str) -> Result<usize> {
    conn.execute(text, []).map_err(sql(doing))
}
