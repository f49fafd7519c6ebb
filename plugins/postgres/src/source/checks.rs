//! What `validate --connect` looks at, and every open: each finding with the statement that mends it.

use api::{Plan, Retry};
use model::StreamId;
use tokio_postgres::Client;

use super::catalogue::{Server, Table, TableColumn};
use super::choice::{Choice, Why, choose};
use super::error::{Error, table as quoted, types_failed};
use super::privileges::more_than_enough;
use super::publication::{self, Publication, Published};
use super::reads::Cut;
use super::shape::{StreamShape, check_plan};
use super::slot::Slot;
use super::slot_watch::{self, OurSlot};
use super::spec::{MessagesSpec, Names, PostgresSourceSpec};
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
    let messages = spec.messages.as_ref().map(MessagesSpec::stream_id);
    let is_table = |planned: &&api::PlannedStream| Some(&planned.id) != messages.as_ref();
    let tables: Vec<StreamId> = plan.streams.iter().filter(is_table).map(|of| of.id.clone()).collect();
    if let Some(stream) = messages.as_ref().filter(|_| tables.len() == plan.streams.len()) {
        let text = format!("messages are not passed on: no stream `{stream}` is configured");
        let finding = api::Error::new("W0273", Retry::Never, text);
        found.push(finding.hint(format!(
            "add `{stream}` to `streams`, or remove `messages` from the source's spec"
        )));
    }
    let published = Publication::find(client, &names.publication).await?;
    let missing = published.is_none().then_some(names.publication.as_str());
    found.extend(more_than_enough(&server, missing, &tables));
    if published.is_none() && !spec.create {
        found.push(
            Error::NoPublication {
                publication: names.publication.clone(),
                create: publication::create_statement(&names.publication, &tables),
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
    let is_slot_there = Slot::find(client, &names.slot).await?.is_some();
    let needed = server.slots_used + i64::from(!is_slot_there);
    if needed == server.slots_max {
        let max = server.slots_max;
        let text = format!("existing rows will wait: of {max} replication slots none is left for their snapshots");
        found.push(api::Error::new("W0274", Retry::Operator, text).hint(
            "raise max_replication_slots and restart the server, or drop slots that nobody needs: \
             SELECT slot_name, active, restart_lsn FROM pg_replication_slots;",
        ));
    }
    let mut not_ours = None;
    for planned in plan.streams.iter().filter(is_table) {
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
        let is_added = spec.create
            && published
                .as_ref()
                .is_none_or(|published| names.is_own_publication() && !published.is_all_tables);
        let is_in = published
            .as_ref()
            .is_some_and(|published| published.table(&planned.id).is_some());
        let may_put = table.is_owner
            && published
                .as_ref()
                .map_or(server.may_create, |published| published.is_ours);
        if is_added && !is_in && !may_put {
            not_ours.get_or_insert((planned.id.clone(), table.is_owner));
        }
        if let Some(published) = &published {
            let is_unrouted = table.is_partitioned() && !published.is_via_root;
            let lacks = match is_unrouted {
                true => Some(publication::not_via_root(&planned.id, &names.publication)),
                false => published.lacks(&planned.id, table.key(), &names.publication),
            };
            found.extend(
                lacks
                    .filter(|lacks| !(is_added && matches!(lacks, Error::NotPublished { .. })))
                    .map(Into::into),
            );
        }
        let of_publication = published.as_ref().and_then(|of| of.table(&planned.id));
        found.extend(columns_left_out(&table, planned, of_publication, names, &server));
        match StreamShape::of_table(planned, &table, of_publication, &types) {
            Err(error) => found.push(error),
            Ok(shape) => found.extend(order_of_reading(planned, &choose(client, &table, &shape, spec).await)),
        }
    }
    if let Some((stream, is_owner)) = not_ours {
        let statement = match &published {
            None => publication::create_statement(&names.publication, &tables),
            Some(published) => {
                let missing = tables.iter().filter(|id| published.table(id).is_none());
                publication::add_statement(&names.publication, missing)
            }
        };
        let lacks = match (is_owner, &published) {
            (false, _) => "does not own the table",
            (true, None) => "may not create publications in the database",
            (true, Some(_)) => "does not own the publication",
        };
        found.push(
            Error::NotOwner {
                stream,
                publication: names.publication.clone(),
                lacks,
                statement,
            }
            .into(),
        );
    }
    found.extend(slot_watch::findings(&OurSlot::all(client).await?, names));
    Ok(found)
}

/// Columns of a table that are in neither rows nor changes.
fn columns_left_out(
    table: &Table,
    planned: &api::PlannedStream,
    published: Option<&Published>,
    names: &Names,
    server: &Server,
) -> Option<api::Error> {
    let is_sent = |column: &TableColumn| {
        let columns = published.and_then(|of| of.columns.as_ref());
        let is_listed = columns.is_none_or(|columns| columns.contains(&column.name));
        is_listed && (!column.is_generated || (columns.is_some() && published.is_some_and(|of| of.sends_generated)))
    };
    let left: Vec<&TableColumn> = table
        .columns
        .iter()
        .filter(|column| !is_sent(column) && !planned.exclude.contains(&column.name))
        .collect();
    if left.is_empty() {
        return None;
    }
    let publication = crate::identifier::quote_ident(&names.publication);
    let listed: Vec<String> = left.iter().map(|column| format!("`{}`", column.name)).collect();
    let (why, hint) = if left.iter().all(|column| column.is_generated) {
        let set = format!("ALTER PUBLICATION {publication} SET (publish_generated_columns = stored);");
        let hint = match server.version {
            180_000.. => set,
            _ => "PostgreSQL sends generated columns from 18 on; compute them in a transformer or at the destination"
                .to_owned(),
        };
        ("they are generated", hint)
    } else {
        (
            "the publication has a list of columns",
            format!(
                "-- with every column\nALTER PUBLICATION {publication} SET TABLE {};",
                quoted(&planned.id)
            ),
        )
    };
    let text = format!("`{}` is read without {}: {why}", planned.id, listed.join(", "));
    Some(api::Error::new("N0276", Retry::Never, text).hint(hint))
}

/// How the existing rows of a table are read, where that makes a difference.
fn order_of_reading(planned: &api::PlannedStream, choice: &Choice) -> Option<api::Error> {
    let (id, why) = (&planned.id, &choice.why);
    let finding = |code, text| Some(api::Error::new(code, Retry::Never, text));
    match (choice.cut, why) {
        (_, Why::Small) | (Cut::Nothing, _) => None,
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
