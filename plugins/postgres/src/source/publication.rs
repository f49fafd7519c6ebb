//! The publication that says which tables the slot's stream carries.

use model::StreamId;
use tokio_postgres::Client;

use super::catalogue::Table;
use super::error::{Error, sql, table};
use super::spec::Names;
use crate::identifier::quote_ident;

/// A publication as the server has it.
#[derive(Debug, Clone)]
pub(crate) struct Publication {
    pub(crate) is_all_tables: bool,
    /// Whether the role may change and drop it.
    pub(crate) is_ours: bool,
    /// Insert, update, delete, truncate.
    pub(crate) publishes: [bool; 4],
    pub(crate) is_via_root: bool,
    pub(crate) tables: Vec<Published>,
}

/// A table in it.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) schema: String,
    pub(crate) name: String,
    /// The columns that are sent; `None` where the server is too old to tell (before 15: all that are not generated).
    pub(crate) columns: Option<Vec<String>>,
    /// Whether generated columns that are listed there are sent, too (from 18 on).
    pub(crate) sends_generated: bool,
    pub(crate) row_filter: Option<String>,
}

impl Published {
    fn is(&self, stream: &StreamId) -> bool {
        stream.schema() == Some(&self.schema) && stream.name() == self.name
    }
}

impl Publication {
    pub(crate) async fn find(client: &Client, name: &str) -> api::Result<Option<Publication>> {
        let doing = sql("read the publication");
        let row = client
            .query_opt(
                "SELECT puballtables, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot,
                        pg_has_role(pubowner, 'usage')
                 FROM pg_publication WHERE pubname = $1",
                &[&name],
            )
            .await
            .map_err(&doing)?;
        let Some(row) = row else {
            return Ok(None);
        };
        // `attnames` and `rowfilter` are there from 15 on.
        let tables = client
            .query(
                "SELECT schemaname::text, tablename::text,
                        CASE WHEN to_jsonb(p) ? 'attnames'
                             THEN ARRAY(SELECT jsonb_array_elements_text(to_jsonb(p)->'attnames')) END,
                        to_jsonb(p)->>'rowfilter', current_setting('server_version_num')::int4 >= 180000
                 FROM pg_publication_tables p WHERE pubname = $1",
                &[&name],
            )
            .await
            .map_err(&doing)?;
        let published = tables.into_iter().map(|row| Published {
            schema: row.get(0),
            name: row.get(1),
            columns: row.get(2),
            row_filter: row.get(3),
            sends_generated: row.get(4),
        });
        Ok(Some(Publication {
            is_all_tables: row.get(0),
            publishes: [row.get(1), row.get(2), row.get(3), row.get(4)],
            is_via_root: row.get(5),
            is_ours: row.get(6),
            tables: published.collect(),
        }))
    }

    pub(crate) fn table(&self, stream: &StreamId) -> Option<&Published> {
        self.tables.iter().find(|table| table.is(stream))
    }

    /// What keeps the publication from showing every change of a stream.
    pub(crate) fn lacks(&self, stream: &StreamId, key: &[String], name: &str) -> Option<Error> {
        let publication = name.to_owned();
        let stream_of = || stream.clone();
        let Some(found) = self.table(stream) else {
            return Some(Error::NotPublished {
                stream: stream_of(),
                publication,
                add: add_statement(name, [stream]),
            });
        };
        let less = |lacking: String, set: String| {
            Some(Error::PublishesLess {
                stream: stream_of(),
                publication: publication.clone(),
                lacking,
                set,
            })
        };
        let kinds = ["insert", "update", "delete", "truncate"];
        let missing: Vec<&str> = kinds
            .iter()
            .zip(self.publishes)
            .filter(|(_, is_published)| !is_published)
            .map(|(kind, _)| *kind)
            .collect();
        if !missing.is_empty() {
            return less(
                format!("no {}", missing.join(", no ")),
                format!(
                    "ALTER PUBLICATION {} SET (publish = 'insert, update, delete, truncate');",
                    quote_ident(name)
                ),
            );
        }
        let is_listed = |column: &&String| found.columns.as_ref().is_none_or(|columns| columns.contains(column));
        let lacking: Vec<String> = key
            .iter()
            .filter(|column| !is_listed(column))
            .map(|name| format!("`{name}`"))
            .collect();
        if !lacking.is_empty() {
            return less(
                format!("it without {} of its key", lacking.join(", ")),
                format!(
                    "-- with every column, or UPDATE and DELETE fail\nALTER PUBLICATION {} SET TABLE {};",
                    quote_ident(name),
                    table(stream)
                ),
            );
        }
        if let Some(filter) = &found.row_filter {
            return less(
                format!("only rows for which {filter}"),
                format!(
                    "-- without the row filter, or existing rows and changes would differ\nALTER PUBLICATION {} SET TABLE {};",
                    quote_ident(name),
                    table(stream)
                ),
            );
        }
        None
    }
}

/// A partitioned table whose changes are published under the names of its partitions.
pub(crate) fn not_via_root(stream: &StreamId, name: &str) -> Error {
    Error::PublishesLess {
        stream: stream.clone(),
        publication: name.to_owned(),
        lacking: "its partitions under their own names".to_owned(),
        set: format!(
            "ALTER PUBLICATION {} SET (publish_via_partition_root = true);",
            quote_ident(name)
        ),
    }
}

/// The statement that makes the publication.
pub(crate) fn create_statement<'a>(name: &str, streams: impl IntoIterator<Item = &'a StreamId>) -> String {
    let tables = match list(streams) {
        none if none.is_empty() => none,
        some => format!("FOR TABLE {some} "),
    };
    format!(
        "CREATE PUBLICATION {} {tables}WITH (publish_via_partition_root = true);",
        quote_ident(name)
    )
}

/// The statement that adds tables to it.
pub(crate) fn add_statement<'a>(name: &str, streams: impl IntoIterator<Item = &'a StreamId>) -> String {
    format!("ALTER PUBLICATION {} ADD TABLE {};", quote_ident(name), list(streams))
}

fn list<'a>(streams: impl IntoIterator<Item = &'a StreamId>) -> String {
    let names: Vec<String> = streams.into_iter().map(table).collect();
    names.join(", ")
}

/// What was done for the publication to carry every stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ensured {
    /// It did not exist before.
    Created,
    /// These tables were added to it; none, if it had them all.
    Added(Vec<StreamId>),
}

/// Makes the publication carry every stream, as far as that is ours to do.
///
/// It has to exist before the slot does: what the slot decodes is looked up in the catalogue as it was then.
pub(crate) async fn ensure(
    client: &Client,
    names: &Names,
    may_create: bool,
    streams: &[StreamId],
) -> api::Result<Ensured> {
    let name = &names.publication;
    let Some(found) = Publication::find(client, name).await? else {
        let create = create_statement(name, streams);
        if !may_create {
            return Err(Error::NoPublication {
                publication: name.clone(),
                create,
            }
            .into());
        }
        fail::fail_point!("postgres.source.before_create_publication");
        client
            .batch_execute(&create)
            .await
            .map_err(|error| not_made(error, "create the publication", names, streams.first(), &create))?;
        fail::fail_point!("postgres.source.after_create_publication");
        return Ok(Ensured::Created);
    };
    let missing: Vec<&StreamId> = streams.iter().filter(|stream| found.table(stream).is_none()).collect();
    if !missing.is_empty() {
        let add = add_statement(name, missing.iter().copied());
        // Another's publication is not ours to change.
        if !may_create || !names.is_own_publication() || found.is_all_tables {
            let stream = missing[0];
            let table = Table::find(client, stream.schema().unwrap_or_default(), stream.name()).await?;
            if !found.is_via_root && table.is_some_and(|table| table.is_partitioned()) {
                return Err(not_via_root(stream, name).into());
            }
            return Err(Error::NotPublished {
                stream: stream.clone(),
                publication: name.clone(),
                add,
            }
            .into());
        }
        client.batch_execute(&add).await.map_err(|error| {
            not_made(
                error,
                "add tables to the publication",
                names,
                missing.first().copied(),
                &add,
            )
        })?;
    }
    let added = missing.into_iter().cloned().collect();
    let found = Publication::find(client, name).await?;
    match found.and_then(|found| streams.iter().find_map(|stream| found.lacks(stream, &[], name))) {
        Some(lacking) => Err(lacking.into()),
        None => Ok(Ensured::Added(added)),
    }
}

/// Why a publication was not made or changed: for want of privileges that only the tables' owner has, with the statement.
fn not_made(
    error: tokio_postgres::Error,
    doing: &'static str,
    names: &Names,
    stream: Option<&StreamId>,
    statement: &str,
) -> api::Error {
    use tokio_postgres::error::SqlState;
    match stream {
        Some(stream) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            let lacks = "may not";
            api::Error::from(Error::NotOwner {
                stream: stream.clone(),
                publication: names.publication.clone(),
                lacks,
                statement: statement.to_owned(),
            })
            .caused_by(error)
        }
        _ => sql(doing)(error),
    }
}

/// Removes a publication; whether there was one that the role may remove. Somebody else's stays.
pub(crate) async fn drop(client: &Client, name: &str) -> api::Result<bool> {
    if Publication::find(client, name)
        .await?
        .is_none_or(|found| !found.is_ours)
    {
        return Ok(false);
    }
    client
        .batch_execute(&format!("DROP PUBLICATION IF EXISTS {}", quote_ident(name)))
        .await
        .map_err(sql("drop the publication"))?;
    Ok(true)
}
