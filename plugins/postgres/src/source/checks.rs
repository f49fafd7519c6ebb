//! What `validate --connect` looks at, and every open: each finding with the statement that mends it.

use api::{Plan, Retry};
use tokio_postgres::Client;

use super::catalogue::{Server, Table};
use super::choice::{Choice, Why, choose};
use super::error::{Error, table as quoted, types_failed};
use super::publication::{self, Publication};
use super::reads::Cut;
use super::shape::{StreamShape, check_plan};
use super::slot::Slot;
use super::slot_watch::{self, OurSlot};
use super::spec::{Names, PostgresSourceSpec};
use crate::types::TypeCatalogue;

/// What keeps the server from being read at all.
pub(crate) fn check_server(server: &Server) -> Vec<Error> {
    let mut found = Vec::new();
    if server.version < 140_000 {
        found.push(Error::Version {
            found: server.version_text.clone(),
        });
    }
    if server.wal_level != "logical" {
        found.push(Error::WalLevel {
            found: server.wal_level.clone(),
        });
    }
    if !server.may_replicate {
        found.push(Error::NoReplication {
            user: server.user.clone(),
        });
    }
    found
}

/// What keeps a table from being a stream.
pub(crate) fn check_table(table: &Table, planned: &api::PlannedStream, server: &Server) -> api::Result<()> {
    if !table.may_select {
        return Err(Error::NoSelect {
            stream: planned.id.clone(),
            user: server.user.clone(),
        }
        .into());
    }
    if table.persistence != "p" {
        return Err(Error::NotLogged {
            stream: planned.id.clone(),
            kind: if table.persistence == "u" {
                "unlogged"
            } else {
                "temporary"
            },
        }
        .into());
    }
    check_plan(table, planned)?;
    let unfit = |identity, why| {
        Err(api::Error::from(Error::Identity {
            stream: planned.id.clone(),
            identity,
            why,
            table: quoted(&planned.id),
        }))
    };
    match table.identity.as_str() {
        "n" => unfit("nothing", "no old rows are written to the log"),
        "d" if table.primary_key.is_empty() => unfit("default", "there is no primary key"),
        "i" if table.identity_key.is_empty() => unfit("an index", "the index is gone"),
        "f" => Ok(()),
        _ => match &planned.key {
            // A delete says no more than the replica identity.
            Some(key) if key.iter().any(|column| !table.key().contains(column)) => {
                unfit("a key", "it lacks columns of the configured key")
            }
            _ => Ok(()),
        },
    }
}

/// Finds a planned table, or says what it may be called.
pub(crate) async fn find_table(client: &Client, planned: &api::PlannedStream, server: &Server) -> api::Result<Table> {
    let id = &planned.id;
    if let Some(table) = Table::find(client, id.schema().unwrap_or_default(), id.name()).await? {
        return Ok(table);
    }
    let plain = |name: &str| name.to_lowercase().replace('_', "").trim_end_matches('s').to_owned();
    let tables = Table::list(client).await?;
    let similar = tables.iter().find(|table| plain(&table.name) == plain(id.name()));
    Err(Error::NoSuchTable {
        stream: id.clone(),
        database: server.database.clone(),
        similar: similar.map(|table| format!("{}.{}", table.schema, table.name)),
    }
    .into())
}

/// Everything that can be found wrong without changing anything.
pub(crate) async fn check(
    client: &Client,
    spec: &PostgresSourceSpec,
    names: &Names,
    plan: &Plan,
) -> api::Result<Vec<api::Error>> {
    let server = Server::describe(client).await?;
    let types = TypeCatalogue::load(client).await.map_err(types_failed)?;
    let mut found: Vec<api::Error> = check_server(&server).into_iter().map(Into::into).collect();
    let published = Publication::find(client, &names.publication).await?;
    if published.is_none() && !spec.create {
        found.push(
            Error::NoPublication {
                publication: names.publication.clone(),
                create: publication::create_statement(&names.publication, plan.streams.iter().map(|of| &of.id)),
            }
            .into(),
        );
    }
    match Slot::find(client, &names.slot).await? {
        Some(slot) => found.extend(slot.unfit(&names.slot, &server).map(Into::into)),
        None if !spec.create => found.push(
            Error::NoSlot {
                slot: names.slot.clone(),
                create: super::slot::create_statement(&names.slot),
            }
            .into(),
        ),
        None if server.slots_used >= server.slots_max => found.push(
            Error::SlotsTaken {
                slot: names.slot.clone(),
                max: server.slots_max,
            }
            .into(),
        ),
        None => {}
    }
    for planned in &plan.streams {
        let table = match find_table(client, planned, &server).await {
            Ok(table) => table,
            Err(error) => {
                found.push(error);
                continue;
            }
        };
        if let Err(error) = check_table(&table, planned, &server) {
            found.push(error);
            continue;
        }
        if let Some(published) = &published {
            let lacks = published.lacks(&planned.id, &names.publication);
            let is_ours = spec.create && names.is_own_publication() && !published.is_all_tables;
            found.extend(
                lacks
                    .filter(|lacks| !(is_ours && matches!(lacks, Error::NotPublished { .. })))
                    .map(Into::into),
            );
            if table.kind == "p" && !published.is_via_root {
                found.push(
                    Error::PublishesLess {
                        stream: planned.id.clone(),
                        publication: names.publication.clone(),
                        lacking: "its partitions under their own names".to_owned(),
                        set: format!(
                            "ALTER PUBLICATION {} SET (publish_via_partition_root = true);",
                            crate::identifier::quote_ident(&names.publication)
                        ),
                    }
                    .into(),
                );
            }
        }
        let of_publication = published.as_ref().and_then(|of| of.table(&planned.id));
        match StreamShape::of_table(planned, &table, of_publication, &types) {
            Err(error) => found.push(error),
            Ok(shape) => found.extend(order_of_reading(planned, &choose(client, &table, &shape, spec).await)),
        }
    }
    found.extend(slot_watch::findings(&OurSlot::all(client).await?, names));
    Ok(found)
}

/// How the existing rows of a table are read, where that makes a difference.
fn order_of_reading(planned: &api::PlannedStream, choice: &Choice) -> Option<api::Error> {
    let (id, why) = (&planned.id, &choice.why);
    let finding = |code, text| Some(api::Error::new(code, Retry::Never, text));
    match (choice.cut, why) {
        (_, Why::Small) => None,
        (Cut::OneWindow, Why::NoKey | Why::UnknownOrder) => {
            finding("W0251", format!("`{id}` is read in one piece: {why}")).map(|finding| {
                finding.hint(
                    "after a kill its first read starts again, emptied first; a primary key of integers, uuid or text COLLATE \"C\" \
                     avoids that",
                )
            })
        }
        (Cut::OneWindow, _) => finding("N0257", format!("`{id}` is read as it lies on disk, from one snapshot: {why}")),
        (Cut::ByKey, _) => finding("N0257", format!("`{id}` is read by key, page by page: {why}")),
    }
}
