//! What a user's table looks like: columns, key, and everything that can make two rows collide.

use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Refused, Result, sql};
use crate::sql_text::{parse_create_index, quoted};

/// A table as it is described by SQLite's own catalogue. Stored (as JSON) with each layout, because change rows written
/// under it are decoded by it however the table looks by then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
    /// How the row itself is found again.
    pub(crate) identity: Identity,
    /// The primary key; empty for a table without one.
    pub(crate) key: Vec<KeyColumn>,
    /// Unique constraints and unique indexes, the primary key of a `WITHOUT ROWID` table among them.
    pub(crate) uniques: Vec<Unique>,
}

/// One column, generated ones included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// The declared type as written; empty where there is none.
    pub(crate) declared: String,
    pub(crate) is_not_null: bool,
    pub(crate) is_generated: bool,
    /// The text of the default expression.
    pub(crate) default: Option<String>,
    /// Part of the primary key or of a unique *constraint*: SQLite refuses to drop it, so our triggers may name it
    /// plainly, which is cheaper.
    pub(crate) is_permanent: bool,
}

/// What tells a row of the table apart inside SQLite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Identity {
    /// The rowid, under a name that no column hides; `alias` is the `INTEGER PRIMARY KEY` column.
    Rowid { name: String, alias: Option<usize> },
    /// The primary key, because there is no rowid, or none that can be named.
    Key,
}

/// A column of the primary key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyColumn {
    /// Index into the table's columns.
    pub(crate) column: usize,
    pub(crate) collation: String,
    pub(crate) is_descending: bool,
}

/// Something that at most one row may have: two rows with the same are in conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unique {
    pub(crate) terms: Vec<UniqueTerm>,
    /// The condition of a partial index, as text.
    pub(crate) condition: Option<String>,
    /// From `CREATE UNIQUE INDEX`, which the user may drop; a constraint stays.
    pub(crate) is_index: bool,
}

/// One term of a [`Unique`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UniqueTerm {
    pub(crate) what: TermOf,
    pub(crate) collation: String,
}

/// What a [`UniqueTerm`] compares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum TermOf {
    /// A column, by index.
    Column(usize),
    /// The rowid.
    Rowid,
    /// An expression over columns, as text.
    Expression(String),
}

/// SQLite allows 2,000 columns in a table, and each column of the user's takes two in the change table.
const COLUMNS_MAX: usize = 990;

impl Table {
    /// Describes a table; `None` if there is none of that name.
    pub(crate) fn describe(conn: &Connection, name: &str) -> Result<Option<Table>> {
        let Some(listed) = listed(conn, name)? else {
            return Ok(None);
        };
        if listed.kind != "table" {
            return Err(refuse(name, Refused::NotATable { kind: listed.kind }));
        }
        let name = listed.name.as_str();
        let (mut columns, key_columns) = columns(conn, name)?;
        if columns.len() > COLUMNS_MAX {
            return Err(refuse(
                name,
                Refused::TooWide {
                    columns: columns.len(),
                    columns_max: COLUMNS_MAX,
                },
            ));
        }
        let indexes = indexes(conn, name)?;
        let key_index = indexes.iter().find(|index| index.origin == "pk");
        let alias = match key_columns.as_slice() {
            [only] if !listed.is_without_rowid && key_index.is_none() => Some(*only),
            _ => None,
        };
        let identity = if listed.is_without_rowid {
            Identity::Key
        } else {
            identity_of_rowid_table(name, &columns, alias, &key_columns)?
        };
        let key = match (alias, key_index) {
            (Some(alias), _) => vec![KeyColumn {
                column: alias,
                collation: "BINARY".to_owned(),
                is_descending: false,
            }],
            (None, Some(index)) => key_from_index(index, key_columns.len()),
            (None, None) => Vec::new(),
        };
        for index in indexes.iter().filter(|index| index.origin != "c") {
            for term in &index.terms {
                if let TermOf::Column(column) = term.what {
                    columns[column].is_permanent = true;
                }
            }
        }
        if let Some(alias) = alias {
            columns[alias].is_permanent = true;
        }
        let uniques = indexes
            .into_iter()
            .map(|index| Unique {
                terms: index
                    .terms
                    .into_iter()
                    .map(|term| UniqueTerm {
                        what: term.what,
                        collation: term.collation,
                    })
                    .collect(),
                condition: index.condition,
                is_index: index.origin == "c",
            })
            .collect();
        Ok(Some(Table {
            name: listed.name.clone(),
            columns,
            identity,
            key,
            uniques,
        }))
    }

    pub(crate) fn quoted_name(&self) -> String {
        quoted(&self.name)
    }
}

fn refuse(table: &str, why: Refused) -> Error {
    Error::CannotCapture {
        table: table.to_owned(),
        why,
    }
}

struct Listed {
    name: String,
    kind: String,
    is_without_rowid: bool,
}

fn listed(conn: &Connection, name: &str) -> Result<Option<Listed>> {
    conn.prepare_cached("SELECT name, type, wr FROM pragma_table_list(?1) WHERE schema = 'main'")
        .and_then(|mut statement| {
            statement
                .query_row([name], |row| {
                    Ok(Listed {
                        name: row.get(0)?,
                        kind: row.get(1)?,
                        is_without_rowid: row.get(2)?,
                    })
                })
                .optional()
        })
        .map_err(sql("read the table list"))
}

/// Names of all ordinary tables that may be streams, in the catalogue's order.
pub(crate) fn user_tables(conn: &Connection) -> Result<Vec<String>> {
    let all = conn
        .prepare(
            "SELECT l.name FROM pragma_table_list AS l JOIN main.sqlite_schema AS s ON s.name = l.name AND s.type = 'table'
             WHERE l.schema = 'main' AND l.type = 'table' ORDER BY s.rowid",
        )
        .and_then(|mut statement| statement.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>())
        .map_err(sql("read the table list"))?;
    let is_stream = |name: &String| !super::names::is_ours(name) && !name.to_ascii_lowercase().starts_with("sqlite_");
    Ok(all.into_iter().filter(is_stream).collect())
}

/// The columns, and the indices of those of the primary key in key order.
fn columns(conn: &Connection, table: &str) -> Result<(Vec<Column>, Vec<usize>)> {
    let mut columns = Vec::new();
    let mut key = Vec::new();
    conn.prepare_cached(
        "SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?1, 'main') WHERE hidden <> 1 ORDER BY cid",
    )
    .and_then(|mut statement| {
        let mut rows = statement.query([table])?;
        while let Some(row) = rows.next()? {
            let place: i64 = row.get(4)?;
            if place > 0 {
                key.push((place, columns.len()));
            }
            columns.push(Column {
                name: row.get(0)?,
                declared: row.get::<_, Option<String>>(1)?.unwrap_or_default(),
                is_not_null: row.get(2)?,
                default: row.get(3)?,
                is_generated: row.get::<_, i64>(5)? >= 2,
                is_permanent: false,
            });
        }
        Ok(())
    })
    .map_err(sql("read the columns of a table"))?;
    key.sort_unstable();
    Ok((columns, key.into_iter().map(|(_, column)| column).collect()))
}

struct Index {
    origin: String,
    terms: Vec<IndexTerm>,
    condition: Option<String>,
}

struct IndexTerm {
    what: TermOf,
    collation: String,
    is_descending: bool,
}

/// The unique indexes of a table, those behind constraints included.
fn indexes(conn: &Connection, table: &str) -> Result<Vec<Index>> {
    let listed = conn
        .prepare_cached(
            "SELECT l.name, l.origin, s.sql FROM pragma_index_list(?1, 'main') AS l
             LEFT JOIN main.sqlite_schema AS s ON s.type = 'index' AND s.name = l.name
             WHERE l.\"unique\" ORDER BY l.name",
        )
        .and_then(|mut statement| {
            statement
                .query_map([table], |row| {
                    Ok((
                        row.get::<_, String>(0)?,
                        row.get::<_, String>(1)?,
                        row.get::<_, Option<String>>(2)?,
                    ))
                })?
                .collect::<rusqlite::Result<Vec<_>>>()
        })
        .map_err(sql("read the indexes of a table"))?;
    let mut indexes = Vec::with_capacity(listed.len());
    for (name, origin, text) in listed {
        let parsed = text.as_deref().and_then(parse_create_index);
        let terms = conn
            .prepare_cached("SELECT cid, coll, desc FROM pragma_index_xinfo(?1, 'main') WHERE key ORDER BY seqno")
            .and_then(|mut statement| {
                statement
                    .query_map([&name], |row| {
                        Ok((
                            row.get::<_, i64>(0)?,
                            row.get::<_, Option<String>>(1)?,
                            row.get::<_, bool>(2)?,
                        ))
                    })?
                    .collect::<rusqlite::Result<Vec<_>>>()
            })
            .map_err(sql("read the columns of an index"))?;
        let terms = terms
            .into_iter()
            .enumerate()
            .map(|(i, (cid, collation, is_descending))| {
                let what = match usize::try_from(cid) {
                    Ok(column) => TermOf::Column(column),
                    Err(_) if cid == -1 => TermOf::Rowid,
                    Err(_) => {
                        let text = parsed.as_ref().and_then(|parsed| parsed.terms.get(i));
                        TermOf::Expression(text.ok_or_else(|| unreadable(table, &name))?.clone())
                    }
                };
                Ok(IndexTerm {
                    what,
                    collation: collation.unwrap_or_else(|| "BINARY".to_owned()),
                    is_descending,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        indexes.push(Index {
            origin,
            terms,
            condition: parsed.and_then(|parsed| parsed.condition),
        });
    }
    Ok(indexes)
}

fn unreadable(table: &str, index: &str) -> Error {
    refuse(
        table,
        Refused::UnreadableIndex {
            index: index.to_owned(),
        },
    )
}

fn key_from_index(index: &Index, len: usize) -> Vec<KeyColumn> {
    index
        .terms
        .iter()
        .take(len)
        .filter_map(|term| match term.what {
            TermOf::Column(column) => Some(KeyColumn {
                column,
                collation: term.collation.clone(),
                is_descending: term.is_descending,
            }),
            _ => None,
        })
        .collect()
}

fn identity_of_rowid_table(table: &str, columns: &[Column], alias: Option<usize>, key: &[usize]) -> Result<Identity> {
    if let Some(alias) = alias {
        return Ok(Identity::Rowid {
            name: columns[alias].name.clone(),
            alias: Some(alias),
        });
    }
    let is_free = |name: &&str| !columns.iter().any(|column| column.name.eq_ignore_ascii_case(name));
    match ["rowid", "_rowid_", "oid"].iter().copied().find(is_free) {
        Some(name) => Ok(Identity::Rowid {
            name: name.to_owned(),
            alias: None,
        }),
        None if !key.is_empty() && key.iter().all(|&column| columns[column].is_not_null) => Ok(Identity::Key),
        None => Err(refuse(table, Refused::HiddenRowid)),
    }
}
