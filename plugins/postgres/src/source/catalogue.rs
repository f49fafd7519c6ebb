//! What the server's catalogue says: about itself, about tables, about keys.
//!
//! The same queries describe a table as of now and, inside a transaction that imported a snapshot, as of a window.

use std::collections::HashMap;

use model::{StreamId, Timestamp};
use tokio_postgres::Client;

use super::error::{Error, sql};
use crate::replication::Lsn;

/// The server and the database.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) version: i32,
    pub(crate) version_text: String,
    pub(crate) database: String,
    pub(crate) database_oid: u32,
    pub(crate) user: String,
    pub(crate) wal_level: String,
    pub(crate) may_replicate: bool,
    pub(crate) is_superuser: bool,
    /// Whether the role may make a publication in the database.
    pub(crate) may_create: bool,
    pub(crate) slots_max: i64,
    pub(crate) slots_used: i64,
}

impl Server {
    pub(crate) async fn describe(client: &Client) -> api::Result<Self> {
        let row = client
            .query_one(
                "SELECT current_setting('server_version_num')::int4, current_setting('server_version'),
                        current_database()::text, d.oid,
                        current_user::text, current_setting('wal_level'),
                        r.rolreplication OR r.rolsuper
                            OR coalesce(pg_has_role(current_user, (SELECT oid FROM pg_roles WHERE rolname = 'rds_replication'), 'member'), false),
                        current_setting('max_replication_slots')::int8, (SELECT count(*) FROM pg_replication_slots),
                        r.rolsuper, has_database_privilege(d.oid, 'create')
                 FROM pg_database d, pg_roles r
                 WHERE d.datname = current_database() AND r.rolname = current_user",
                &[],
            )
            .await
            .map_err(sql("describe the server"))?;
        Ok(Server {
            version: row.get(0),
            version_text: row.get(1),
            database: row.get(2),
            database_oid: row.get(3),
            user: row.get(4),
            wal_level: row.get(5),
            may_replicate: row.get(6),
            slots_max: row.get(7),
            slots_used: row.get(8),
            is_superuser: row.get(9),
            may_create: row.get(10),
        })
    }
}

/// The server's clock and the end of its log: what is flushed, or on a standby what is replayed.
pub(crate) async fn now_and_end_of_log(client: &Client) -> api::Result<(Timestamp, Lsn)> {
    let row = client
        .query_one(
            "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8,
                    (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END)::text",
            &[],
        )
        .await
        .map_err(sql("read the end of the log"))?;
    Ok((Timestamp(row.get(0)), lsn(row.get(1))?))
}

/// Reads an LSN that the server wrote.
pub(crate) fn lsn(text: &str) -> api::Result<Lsn> {
    text.parse().map_err(|_| {
        Error::BadChange {
            stream: "the catalogue".to_owned(),
            why: format!("`{text}` is no LSN"),
        }
        .into()
    })
}

/// A table as the catalogue has it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Table {
    pub(crate) oid: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    /// `r` an ordinary table, `p` a partitioned one.
    pub(crate) kind: String,
    /// `p` permanent, `u` unlogged, `t` temporary.
    pub(crate) persistence: String,
    /// `d` default, `n` nothing, `f` full, `i` an index.
    pub(crate) identity: String,
    /// The file that holds it, which every rewrite and TRUNCATE replaces; 0 for a partitioned table.
    pub(crate) filenode: u32,
    /// Rows, as the last ANALYZE or VACUUM guessed; negative if never.
    pub(crate) row_count_estimated: f64,
    /// Its blocks, as of the same time.
    pub(crate) block_count_estimated: i64,
    pub(crate) may_select: bool,
    /// Whether the role may put it into a publication.
    pub(crate) is_owner: bool,
    pub(crate) columns: Vec<TableColumn>,
    /// The primary key's columns, in key order.
    pub(crate) primary_key: Vec<String>,
    /// The columns of the index that is the replica identity.
    pub(crate) identity_key: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableColumn {
    pub(crate) number: i16,
    pub(crate) name: String,
    pub(crate) type_oid: u32,
    pub(crate) typmod: i32,
    pub(crate) is_generated: bool,
    /// Whether its collation, if it has one, orders by the bytes of the text.
    pub(crate) is_byte_ordered: bool,
}

impl Table {
    /// The columns that identify a row.
    pub(crate) fn key(&self) -> &[String] {
        // Of an old row the log has no more than the replica identity.
        if self.identity == "i" {
            &self.identity_key
        } else {
            &self.primary_key
        }
    }

    pub(crate) fn is_partitioned(&self) -> bool {
        self.kind == "p"
    }

    pub(crate) fn is(&self, stream: &StreamId) -> bool {
        stream.schema() == Some(&self.schema) && stream.name() == self.name
    }

    pub(crate) fn column(&self, name: &str) -> Option<&TableColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Every table that could be a stream: ordinary and partitioned ones of users, without the partitions of a
    /// partitioned one, whose rows are published under its root.
    pub(crate) async fn list(client: &Client) -> api::Result<Vec<Table>> {
        Self::load(client, "NOT c.relispartition AND c.relpersistence = 'p'", &[]).await
    }

    /// One table by name, also one that could not be a stream.
    pub(crate) async fn find(client: &Client, schema: &str, name: &str) -> api::Result<Option<Table>> {
        let mut found = Self::load(client, "n.nspname = $1 AND c.relname = $2", &[&schema, &name]).await?;
        Ok(found.pop())
    }

    /// Those of the named tables that are there.
    pub(crate) async fn find_all(client: &Client, streams: &[StreamId]) -> api::Result<Vec<Table>> {
        let schemas: Vec<&str> = streams.iter().map(|id| id.schema().unwrap_or_default()).collect();
        let names: Vec<&str> = streams.iter().map(StreamId::name).collect();
        let among = "(n.nspname, c.relname) IN (SELECT * FROM unnest($1::text[], $2::text[]))";
        Self::load(client, among, &[&schemas, &names]).await
    }

    async fn load(
        client: &Client,
        condition: &str,
        parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> api::Result<Vec<Table>> {
        let doing = sql("read the catalogue of tables");
        let text = format!(
            "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text, c.relreplident::text,
                    c.reltuples::float8, has_schema_privilege(n.oid, 'usage') AND has_table_privilege(c.oid, 'select'),
                    coalesce((SELECT sum(greatest(l.reltuples, 0))::float8 FROM pg_inherits h JOIN pg_class l ON l.oid = h.inhrelid
                              WHERE h.inhparent = c.oid AND c.relkind = 'p'), 0), c.relfilenode,
                    CASE WHEN c.relkind = 'p'
                         THEN coalesce((SELECT sum(l.relpages) FROM pg_inherits h JOIN pg_class l ON l.oid = h.inhrelid
                                        WHERE h.inhparent = c.oid), 0)
                         ELSE c.relpages END::int8, pg_has_role(c.relowner, 'usage')
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND {condition}
             ORDER BY n.nspname, c.relname"
        );
        let mut tables: Vec<Table> = Vec::new();
        for row in client.query(&text, parameters).await.map_err(&doing)? {
            let own: f64 = row.get(6);
            let of_partitions: f64 = row.get(8);
            tables.push(Table {
                oid: row.get(0),
                schema: row.get(1),
                name: row.get(2),
                kind: row.get(3),
                persistence: row.get(4),
                identity: row.get(5),
                filenode: row.get(9),
                row_count_estimated: own.max(of_partitions),
                block_count_estimated: row.get(10),
                may_select: row.get(7),
                is_owner: row.get(11),
                columns: Vec::new(),
                primary_key: Vec::new(),
                identity_key: Vec::new(),
            });
        }
        let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
        let at: HashMap<u32, usize> = oids.iter().enumerate().map(|(at, oid)| (*oid, at)).collect();
        // A database's own collation is the one that columns have by default. Asked for through JSON, because the names of
        // these catalogue columns differ between versions.
        let columns = client
            .query(
                "SELECT a.attrelid, a.attnum, a.attname::text, a.atttypid, a.atttypmod, a.attgenerated <> '',
                        CASE coalesce(co->>'collprovider', 'c')
                          WHEN 'c' THEN co IS NULL OR co->>'collcollate' IN ('C', 'POSIX')
                          WHEN 'b' THEN true
                          WHEN 'd' THEN CASE coalesce(db->>'datlocprovider', 'c')
                            WHEN 'c' THEN db->>'datcollate' IN ('C', 'POSIX') WHEN 'b' THEN true ELSE false END
                          ELSE false END
                 FROM pg_attribute a
                 LEFT JOIN LATERAL (SELECT to_jsonb(x) AS co FROM pg_collation x WHERE x.oid = a.attcollation) k ON true
                 CROSS JOIN (SELECT to_jsonb(x) AS db FROM pg_database x WHERE x.datname = current_database()) d
                 WHERE a.attrelid = ANY($1) AND a.attnum > 0 AND NOT a.attisdropped
                 ORDER BY a.attrelid, a.attnum",
                &[&oids],
            )
            .await
            .map_err(&doing)?;
        for row in columns {
            let oid: u32 = row.get(0);
            if let Some(table) = at.get(&oid).and_then(|at| tables.get_mut(*at)) {
                table.columns.push(TableColumn {
                    number: row.get(1),
                    name: row.get(2),
                    type_oid: row.get(3),
                    typmod: row.get(4),
                    is_generated: row.get(5),
                    is_byte_ordered: row.get(6),
                });
            }
        }
        let keys = client
            .query(
                "SELECT i.indrelid, i.indisprimary, i.indisreplident,
                        ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(number, place)
                              JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
                              WHERE k.place <= i.indnkeyatts ORDER BY k.place)
                 FROM pg_index i WHERE i.indrelid = ANY($1) AND (i.indisprimary OR i.indisreplident) AND i.indisvalid",
                &[&oids],
            )
            .await
            .map_err(&doing)?;
        for row in keys {
            let (oid, is_primary, is_identity): (u32, bool, bool) = (row.get(0), row.get(1), row.get(2));
            let names: Vec<String> = row.get(3);
            if let Some(table) = at.get(&oid).and_then(|at| tables.get_mut(*at)) {
                if is_primary {
                    table.primary_key.clone_from(&names);
                }
                if is_identity {
                    table.identity_key = names;
                }
            }
        }
        Ok(tables)
    }
}
