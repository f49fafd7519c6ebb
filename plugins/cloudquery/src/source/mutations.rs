//! Damaged answers of a source plugin.

use std::sync::Arc;

use bytes::Bytes;
use model::Timestamp;
use prost::Message as _;
use proto::TableCodec;
use proto::plugin_v3::sync::{self, response::Message as Wire};
use proto::plugin_v3::{Predicate, PredicatesGroup, TableRelation, get_tables};

use super::messages::{Message, Tables};
use super::{stamp, tables_of};
use crate::backend::Cursors;
use crate::error::Error;
use crate::mutations::{Outcome, each_is_taken_or_refused, payloads};

fn outcome(result: Result<(), Error>) -> Outcome {
    match result {
        Ok(()) => Outcome::Taken,
        Err(error) => Outcome::Refused(api::Error::from(error).chain()),
    }
}

fn response(message: Wire) -> sync::Response {
    sync::Response { message: Some(message) }
}

fn responses() -> Vec<sync::Response> {
    let mut responses = vec![response(Wire::Error(sync::MessageError {
        table_name: "sample".to_owned(),
        error: "it broke".to_owned(),
    }))];
    for payload in payloads() {
        let predicate = Predicate {
            column: "c".to_owned(),
            record: payload.record.clone(),
            ..Predicate::default()
        };
        responses.extend([
            response(Wire::MigrateTable(sync::MessageMigrateTable {
                table: payload.schema.clone(),
            })),
            response(Wire::Insert(sync::MessageInsert {
                record: payload.record.clone(),
            })),
            response(Wire::Checkpoint(sync::MessageCheckpoint { record: payload.record })),
            response(Wire::DeleteRecord(sync::MessageDeleteRecord {
                table_name: "sample".to_owned(),
                where_clause: vec![PredicatesGroup {
                    predicates: vec![predicate],
                    ..PredicatesGroup::default()
                }],
                table_relations: vec![TableRelation::default()],
            })),
        ]);
    }
    responses
}

/// What a sync does with a message, up to the rows of a changeset.
fn take(tables: &mut Tables, response: sync::Response) -> Result<(), Error> {
    let convert = |source| Error::Convert {
        plugin: "it".to_owned(),
        source,
    };
    let stamped = |codec: &Arc<TableCodec>| stamp::stamped(codec.ours(), None, "it").map_err(convert);
    match tables.take(response)? {
        Message::Table(codec) => stamped(&codec).map(drop),
        Message::Rows(codec, rows) => {
            let schema = stamped(&codec)?;
            let stamped = stamp::stamp(&rows, &schema, Timestamp(1), "it");
            stamped.map(drop).map_err(|error| Error::Protocol {
                plugin: "it".to_owned(),
                what: error.to_string(),
            })
        }
        Message::Failed { .. } | Message::Deleted(..) => Ok(()),
        Message::Checkpoint(rows) => Cursors::default().put(&rows).map_err(|error| Error::Protocol {
            plugin: "it".to_owned(),
            what: error.to_string(),
        }),
    }
}

#[test]
fn damaged_answers_to_a_sync_are_taken_or_refused_by_the_plugins_name() {
    let responses = responses();
    let announced = response(Wire::MigrateTable(sync::MessageMigrateTable {
        table: payloads().swap_remove(0).schema,
    }));
    let originals: Vec<Vec<u8>> = responses.iter().map(sync::Response::encode_to_vec).collect();
    each_is_taken_or_refused(&originals, "`it`", |bytes: Bytes| {
        let Ok(damaged) = sync::Response::decode(bytes) else {
            return Outcome::Undecodable;
        };
        let mut tables = Tables::new("it", true);
        assert!(tables.take(announced.clone()).is_ok(), "a sound table");
        outcome(take(&mut tables, damaged))
    });
}

#[test]
fn damaged_lists_of_tables_are_taken_or_refused_by_the_plugins_name() {
    let answer = get_tables::Response {
        tables: payloads().into_iter().take(5).map(|payload| payload.schema).collect(),
    };
    each_is_taken_or_refused(
        &[answer.encode_to_vec()],
        "`it`",
        |bytes: Bytes| match get_tables::Response::decode(bytes) {
            Ok(answer) => outcome(tables_of("it", &answer).map(drop)),
            Err(_) => Outcome::Undecodable,
        },
    );
}
