//! What PostgreSQL's catalogue says about a table that is there.

use serde::Deserialize;

use super::error::{Error, Result, sql};
use super::link::Link;
use crate::identifier::{Relation, quote_literal};

/// A relation of any kind.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Found {
    /// `pg_class.relkind`: `r` a table, `p` a partitioned one, `v` a view ...
    pub(crate) kind: String,
    /// Whether row security applies to this role.
    pub(crate) has_row_security: bool,
    pub(crate) has_rules: bool,
    pub(crate) columns: Vec<FoundColumn>,
    /// The column sets of which two rows cannot share a value.
    pub(crate) uniques: Vec<FoundUnique>,
    pub(crate) foreign_keys: Vec<FoundForeignKey>,
    /// Triggers that are not PostgreSQL's own.
    pub(crate) triggers: Vec<FoundTrigger>,
    /// Publications that it is in.
    pub(crate) publications: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct FoundColumn {
    pub(crate) name: String,
    /// As PostgreSQL spells it, with its modifier.
    pub(crate) declared: String,
    pub(crate) oid: u32,
    pub(crate) typmod: i32,
    /// `pg_type.typtype`: `b` base, `e` enum, `d` domain ...
    pub(crate) type_kind: String,
    pub(crate) is_not_null: bool,
    pub(crate) has_default: bool,
    pub(crate) is_generated: bool,
    pub(crate) is_identity_always: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct FoundUnique {
    /// Names of the columns; a term that is an expression has none.
    pub(crate) columns: Vec<Option<String>>,
    /// Whether it is checked row by row: `ON CONFLICT` cannot use another one.
    pub(crate) is_immediate: bool,
    /// Whether rows under a condition only are in it.
    pub(crate) is_partial: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct FoundForeignKey {
    pub(crate) name: String,
    /// The table that has it, quoted.
    pub(crate) on: String,
    pub(crate) is_deferrable: bool,
    /// Whether it is the key of another table that names ours.
    pub(crate) is_inbound: bool,
    /// Whether a delete here changes rows there.
    pub(crate) cascades: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct FoundTrigger {
    pub(crate) name: String,
    /// `pg_trigger.tgenabled`: `O` origin, `R` replica, `A` always, `D` disabled.
    pub(crate) enabled: String,
}

/// One JSON document for a relation `{relation}` (a literal).
const LOOK: &str = r#"
WITH c AS (SELECT * FROM pg_catalog.pg_class WHERE oid = to_regclass({relation}))
SELECT json_build_object(
  'kind', c.relkind,
  'has_row_security', pg_catalog.row_security_active(c.oid),
  'has_rules', c.relhasrules,
  'columns', (SELECT coalesce(json_agg(json_build_object(
        'name', a.attname,
        'declared', pg_catalog.format_type(a.atttypid, a.atttypmod),
        'oid', a.atttypid::int8,
        'typmod', a.atttypmod,
        'type_kind', t.typtype,
        'is_not_null', a.attnotnull,
        'has_default', a.atthasdef OR a.attidentity <> '',
        'is_generated', a.attgenerated <> '',
        'is_identity_always', a.attidentity = 'a') ORDER BY a.attnum), '[]')
      FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
  'uniques', (SELECT coalesce(json_agg(json_build_object(
        'columns', (SELECT json_agg(a.attname ORDER BY k.n)
            FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, n)
            LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum AND k.attnum > 0
            WHERE k.n <= i.indnkeyatts),
        'is_immediate', i.indimmediate,
        'is_partial', i.indpred IS NOT NULL)), '[]')
      FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid),
  'foreign_keys', (SELECT coalesce(json_agg(json_build_object(
        'name', f.conname,
        'on', f.conrelid::regclass::text,
        'is_deferrable', f.condeferrable,
        'is_inbound', f.conrelid <> c.oid,
        'cascades', f.confdeltype IN ('c', 'n', 'd')) ORDER BY f.conname), '[]')
      FROM pg_catalog.pg_constraint f WHERE f.contype = 'f' AND c.oid IN (f.conrelid, f.confrelid)
        AND f.conparentid = 0),
  'triggers', (SELECT coalesce(json_agg(json_build_object('name', g.tgname, 'enabled', g.tgenabled) ORDER BY g.tgname), '[]')
      FROM pg_catalog.pg_trigger g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal),
  'publications', (SELECT coalesce(json_agg(p.pubname), '[]') FROM pg_catalog.pg_publication_tables p
      JOIN pg_catalog.pg_namespace n ON n.nspname = p.schemaname
      WHERE n.oid = c.relnamespace AND p.tablename = c.relname)
)::text FROM c"#;

impl Found {
    /// The relation of that name; `None` if there is none.
    pub(crate) async fn read(link: &Link, relation: &Relation) -> Result<Option<Found>> {
        Self::look(link, &relation.to_string()).await
    }

    /// The same for a name that is quoted already.
    pub(crate) async fn look(link: &Link, quoted: &str) -> Result<Option<Found>> {
        let rows = link
            .rows(&LOOK.replace("{relation}", &quote_literal(quoted)))
            .await
            .map_err(sql(format!("look at table {quoted}")))?;
        let Some(text) = rows.first().and_then(|row| row.get(0)) else {
            return Ok(None);
        };
        serde_json::from_str(text).map(Some).map_err(|source| Error::Catalogue {
            table: quoted.to_owned(),
            source,
        })
    }

    /// The column of that name.
    pub(crate) fn column(&self, name: &str) -> Option<&FoundColumn> {
        self.columns.iter().find(|column| column.name == name)
    }
}

impl FoundUnique {
    /// Whether it is about exactly these columns, in any order.
    pub(crate) fn is_of(&self, columns: &[&str]) -> bool {
        self.columns.len() == columns.len() && self.is_within(columns)
    }

    /// Whether it is about some of these columns only.
    pub(crate) fn is_within(&self, columns: &[&str]) -> bool {
        self.columns
            .iter()
            .all(|mine| mine.as_deref().is_some_and(|mine| columns.contains(&mine)))
    }
}
