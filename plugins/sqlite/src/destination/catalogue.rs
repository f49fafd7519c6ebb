//! What SQLite's own catalogue says about a table that is there.

use rusqlite::{Connection, OptionalExtension as _};

use super::form::Affinity;

/// A table, view or virtual table.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// As it is spelled there; SQLite's names know no ASCII case.
    pub(crate) name: String,
    /// SQLite's word: `table`, `view`, `virtual`, `shadow`.
    pub(crate) kind: String,
    pub(crate) columns: Vec<FoundColumn>,
    /// The column sets of which two rows cannot share a value: primary key and unique indexes without a condition.
    pub(crate) uniques: Vec<FoundUnique>,
}

#[derive(Debug, Clone)]
pub(crate) struct FoundColumn {
    pub(crate) name: String,
    /// As written; empty where there is none.
    pub(crate) declared: String,
    pub(crate) affinity: Affinity,
    pub(crate) is_not_null: bool,
    pub(crate) has_default: bool,
    pub(crate) is_generated: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct FoundUnique {
    /// Names of the columns; a term that is an expression has none.
    pub(crate) columns: Vec<Option<String>>,
    /// A collation other than BINARY, if a term has one.
    pub(crate) collation: Option<String>,
    /// The rowid under its own name, which is given out where none is sent.
    pub(crate) is_rowid: bool,
}

impl Found {
    /// The object of that name; `None` if there is none.
    pub(crate) fn read(conn: &Connection, name: &str) -> rusqlite::Result<Option<Found>> {
        let listed = conn
            .prepare_cached(
                "SELECT name, type, strict FROM pragma_table_list WHERE schema = 'main' AND name = ?1 COLLATE NOCASE",
            )?
            .query_row([name], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, bool>(2)?,
                ))
            })
            .optional()?;
        let Some((name, kind, is_strict)) = listed else {
            return Ok(None);
        };
        let (columns, key) = columns(conn, &name, is_strict)?;
        let uniques = if kind == "table" {
            uniques(conn, &name, key)?
        } else {
            Vec::new()
        };
        Ok(Some(Found {
            name,
            kind,
            columns,
            uniques,
        }))
    }

    /// The column of that name.
    pub(crate) fn column(&self, name: &str) -> Option<&FoundColumn> {
        self.columns
            .iter()
            .find(|column| column.name.eq_ignore_ascii_case(name))
    }
}

impl FoundUnique {
    /// Whether it is about exactly these columns, in any order.
    pub(crate) fn is_of(&self, columns: &[&str]) -> bool {
        self.columns.len() == columns.len() && self.is_within(columns)
    }

    /// Whether it is about some of these columns only.
    pub(crate) fn is_within(&self, columns: &[&str]) -> bool {
        self.columns.iter().all(|mine| {
            let mine = mine.as_deref();
            mine.is_some_and(|mine| columns.iter().any(|column| column.eq_ignore_ascii_case(mine)))
        })
    }
}

/// The columns, and the names of the primary key's in its order.
fn columns(conn: &Connection, table: &str, is_strict: bool) -> rusqlite::Result<(Vec<FoundColumn>, Vec<String>)> {
    let mut select = conn.prepare_cached(
        r#"SELECT name, type, "notnull", dflt_value IS NOT NULL, hidden, pk FROM pragma_table_xinfo(?1)"#,
    )?;
    let mut key: Vec<(i64, String)> = Vec::new();
    let mut found = Vec::new();
    let mut rows = select.query([table])?;
    while let Some(row) = rows.next()? {
        let (name, declared): (String, String) = (row.get(0)?, row.get(1)?);
        match row.get::<_, i64>(5)? {
            0 => {}
            place => key.push((place, name.clone())),
        }
        found.push(FoundColumn {
            affinity: Affinity::of_declared(&declared, is_strict),
            name,
            declared,
            is_not_null: row.get(2)?,
            has_default: row.get(3)?,
            is_generated: row.get::<_, i64>(4)? >= 2,
        });
    }
    key.sort();
    Ok((found, key.into_iter().map(|(_, name)| name).collect()))
}

fn uniques(conn: &Connection, table: &str, key: Vec<String>) -> rusqlite::Result<Vec<FoundUnique>> {
    let mut list =
        conn.prepare_cached(r#"SELECT name, origin FROM pragma_index_list(?1) WHERE "unique" AND NOT partial"#)?;
    let indexes: Vec<(String, String)> = list
        .query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut found = Vec::new();
    // A primary key without an index is the rowid itself.
    if !key.is_empty() && indexes.iter().all(|(_, origin)| origin != "pk") {
        found.push(FoundUnique {
            columns: key.into_iter().map(Some).collect(),
            collation: None,
            is_rowid: true,
        });
    }
    let mut terms = conn.prepare_cached("SELECT name, coll FROM pragma_index_xinfo(?1) WHERE key")?;
    for (index, _) in indexes {
        let mut unique = FoundUnique {
            columns: Vec::new(),
            collation: None,
            is_rowid: false,
        };
        let mut rows = terms.query([index])?;
        while let Some(row) = rows.next()? {
            unique.columns.push(row.get(0)?);
            let collation: Option<String> = row.get(1)?;
            if let Some(other) = collation.filter(|name| !name.eq_ignore_ascii_case("BINARY")) {
                unique.collation = Some(other);
            }
        }
        found.push(unique);
    }
    Ok(found)
}
