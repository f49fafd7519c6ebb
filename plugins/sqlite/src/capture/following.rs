//! Following one stream's table: what became of it, and the layout that its triggers write from here on.

use std::collections::BTreeMap;

use rusqlite::params;

use super::install::Work;
use super::layout::{Layout, actual_triggers, drop_triggers};
use super::marks;
use super::meta::{run, unreadable};
use super::names::is_ours;
use super::table::Table;
use super::triggers::{ChangeOp, NOW, columns_of, triggers};
use super::verdict::{RereadReason, Shape, Verdict, compare};
use crate::error::{Result, sql};
use crate::sql_text::quoted;

impl Work<'_> {
    pub(super) fn ensure_stream(&mut self, layouts: &mut BTreeMap<i64, Layout>, stream: &str) -> Result<Verdict> {
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
        let definition = serde_json::to_string(&table).map_err(|e| unreadable(self.conn, &e))?;
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
        let texts = serde_json::to_string(&layout.triggers).map_err(|e| unreadable(self.conn, &e))?;
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

    pub(super) fn retire(&mut self, layouts: &mut BTreeMap<i64, Layout>, number: i64) -> Result<()> {
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
    pub(super) fn settle(
        &self,
        layouts: &mut BTreeMap<i64, Layout>,
        stream: &str,
        mark: i64,
        keeps: bool,
    ) -> Result<()> {
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
