//! Damaged requests of a caller, to a destination that is served.

use bytes::Bytes;
use model::Checkpoint;
use prost::Message as _;
use proto::plugin_v3::write::{self, request::Message};
use proto::plugin_v3::{Predicate, PredicatesGroup, assess_tables};
use tonic::{Code, Status};

use super::assess::assess;
use super::tables::Tables;
use crate::mutations::{Outcome, each_is_taken_or_refused, payloads};

/// How the words of a refusal begin that has a code of its own.
const REFUSED: &str = "refused: ";

fn outcome(result: Result<(), Status>) -> Outcome {
    match result {
        Ok(()) => Outcome::Taken,
        // The caller knows whom it has called; that the fault is its own must be said.
        Err(status) if matches!(status.code(), Code::InvalidArgument | Code::Unimplemented) => {
            Outcome::Refused(format!("{REFUSED}{}", status.message()))
        }
        Err(status) => Outcome::Refused(status.to_string()),
    }
}

fn requests() -> Vec<Message> {
    let mut requests = vec![
        Message::Delete(write::MessageDeleteStale {
            source_name: "it".to_owned(),
            table_name: "sample".to_owned(),
            sync_time: Some(prost_types::Timestamp { seconds: 1, nanos: 2 }),
            ..write::MessageDeleteStale::default()
        }),
        Message::Flush(write::MessageFlush { id: 7 }),
    ];
    for payload in payloads() {
        let predicate = Predicate {
            column: "int64".to_owned(),
            record: payload.record.clone(),
            ..Predicate::default()
        };
        requests.extend([
            Message::MigrateTable(write::MessageMigrateTable {
                table: payload.schema.clone(),
                migrate_force: true,
            }),
            Message::Insert(write::MessageInsert {
                record: payload.record.clone(),
            }),
            Message::DeleteRecord(write::MessageDeleteRecord {
                table_name: "sample".to_owned(),
                where_clause: vec![PredicatesGroup {
                    predicates: vec![predicate],
                    ..PredicatesGroup::default()
                }],
                table_relations: Vec::new(),
            }),
        ]);
    }
    requests
}

#[test]
fn damaged_writes_are_taken_or_refused() {
    let encoded = |message| write::Request { message: Some(message) }.encode_to_vec();
    let originals: Vec<Vec<u8>> = requests().into_iter().map(encoded).collect();
    let table = Message::MigrateTable(write::MessageMigrateTable {
        table: payloads().swap_remove(0).schema,
        migrate_force: false,
    });
    each_is_taken_or_refused(&originals, REFUSED, |bytes: Bytes| {
        let Ok(write::Request { message: Some(damaged) }) = write::Request::decode(bytes) else {
            return Outcome::Undecodable;
        };
        let mut tables = Tables::new(&Checkpoint::default());
        assert!(tables.changesets(table.clone()).is_ok(), "a sound table");
        outcome(tables.changesets(damaged).map(drop))
    });
}

#[test]
fn damaged_questions_about_a_schema_are_answered_or_refused() {
    let pairs = payloads().into_iter().take(5).map(|payload| assess_tables::TablePair {
        old_table: payload.schema.clone(),
        new_table: payload.schema,
    });
    let request = assess_tables::Request {
        tables: pairs.collect(),
        migrate_force: false,
    };
    each_is_taken_or_refused(
        &[request.encode_to_vec()],
        REFUSED,
        |bytes: Bytes| match assess_tables::Request::decode(bytes) {
            Ok(request) => outcome(assess(&request).map(drop)),
            Err(_) => Outcome::Undecodable,
        },
    );
}
