//! Random changes, cut at random into batches, changesets and commits, against a map of what must be there.

use std::collections::BTreeMap;

use api::conformance::{Row, Session, sample};
use api::{Deletes, DestinationOptions, WriteMode};
use model::{Batch, ChangeSet, Control};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::database::Database;

#[derive(Debug, Clone)]
enum Change {
    Put(u8, Option<u8>, Option<u8>),
    /// `name` is not sent.
    Patch(u8, Option<u8>),
    Move(u8, u8, bool),
    Delete(u8),
    Truncate,
    /// Ends the batch, the changeset, the commit, or the process.
    Cut(u8),
}

fn change() -> impl Strategy<Value = Change> {
    let key = || 0..12_u8;
    prop_oneof![
        6 => (key(), any::<Option<u8>>(), any::<Option<u8>>()).prop_map(|(k, n, a)| Change::Put(k, n, a)),
        3 => (key(), any::<Option<u8>>()).prop_map(|(k, a)| Change::Patch(k, a)),
        3 => (key(), key(), any::<bool>()).prop_map(|(from, to, whole)| Change::Move(from, to, whole)),
        3 => key().prop_map(Change::Delete),
        1 => Just(Change::Truncate),
        4 => (0..4_u8).prop_map(Change::Cut),
    ]
}

/// Key to name, amount and mark.
type Table = BTreeMap<u8, (Option<u8>, Option<u8>, bool)>;

struct Writer {
    deletes: Deletes,
    table: Table,
    session: Option<Session>,
    rows: Option<sample::Changes>,
    batches: Vec<Batch>,
    at: u64,
}

fn row(id: u8, name: Option<u8>, amount: Option<u8>) -> Value {
    json!({"id": id, "name": name.map(|n| format!("n{n}")), "amount": amount})
}

impl Writer {
    fn changes(&mut self) -> sample::Changes {
        let at = self.at + 1;
        self.rows
            .take()
            .unwrap_or_else(|| sample::changes(&sample::items()).at(at))
    }

    fn session(&mut self) -> &mut Session {
        self.session.as_mut().unwrap()
    }

    fn is_live(&self, id: u8) -> bool {
        self.table.get(&id).is_some_and(|row| !row.2)
    }

    /// Only what a source could do: it changes rows that it has, and moves them to keys that are free.
    async fn apply(&mut self, database: &Database, options: DestinationOptions, change: &Change) {
        match *change {
            Change::Put(id, name, amount) => {
                let changes = self.changes();
                let changes = if self.is_live(id) {
                    changes.update(row(id, name, amount))
                } else {
                    changes.insert(row(id, name, amount))
                };
                self.rows = Some(changes);
                self.table.insert(id, (name, amount, false));
            }
            Change::Patch(id, amount) if self.is_live(id) => {
                let changes = self
                    .changes()
                    .update(json!({"id": id, "amount": amount}))
                    .without(["name"]);
                self.rows = Some(changes);
                self.table.entry(id).and_modify(|row| row.1 = amount);
            }
            Change::Move(from, to, is_whole) if self.is_live(from) && !self.is_live(to) && from != to => {
                let (name, amount, _) = self.table.remove(&from).unwrap();
                let changes = self.changes();
                let changes = if is_whole {
                    changes.update_from(row(from, name, amount), row(to, name, amount))
                } else {
                    changes
                        .rekey(json!({"id": from}), json!({"id": to, "amount": amount}))
                        .without(["name"])
                };
                self.rows = Some(changes);
                self.table.insert(to, (name, amount, false));
            }
            Change::Delete(id) if self.is_live(id) => {
                let changes = self.changes().delete(json!({"id": id})).without(["name", "amount"]);
                self.rows = Some(changes);
                self.mark(|key| key == id);
            }
            Change::Truncate => {
                self.end_changeset().await;
                let control = Control::Truncate {
                    stream: sample::items().stream().clone(),
                };
                self.write(|from, to| sample::control(from, to, control)).await;
                self.mark(|_| true);
            }
            Change::Cut(0) => self.end_batch(),
            Change::Cut(1) => self.end_changeset().await,
            Change::Cut(2) => {
                self.end_changeset().await;
                self.session().commit().await.unwrap();
            }
            Change::Cut(_) => {
                self.end_changeset().await;
                self.session().commit().await.unwrap();
                // Dropped, not closed, as a crash does.
                drop(self.session.take());
                self.session = Some(database.open(options).await);
            }
            _ => {}
        }
    }

    fn mark(&mut self, is_meant: impl Fn(u8) -> bool) {
        match self.deletes {
            Deletes::Apply => self.table.retain(|&id, _| !is_meant(id)),
            Deletes::Soft => self
                .table
                .iter_mut()
                .filter(|(id, _)| is_meant(**id))
                .for_each(|(_, row)| row.2 = true),
            Deletes::Ignore => {}
        }
    }

    fn end_batch(&mut self) {
        self.batches.extend(self.rows.take().map(sample::Changes::batch));
    }

    async fn end_changeset(&mut self) {
        self.end_batch();
        let batches = std::mem::take(&mut self.batches);
        self.write(|from, to| sample::changeset(from, to, batches)).await;
    }

    async fn write(&mut self, changeset: impl FnOnce(Option<u64>, u64) -> ChangeSet) {
        let changeset = changeset((self.at > 0).then_some(self.at), self.at + 1);
        self.at += 1;
        self.session().write(changeset).await.unwrap();
    }

    fn expected(&self) -> Vec<Row> {
        let text = |value: Option<u8>| value.map(|value| value.to_string());
        self.table
            .iter()
            .map(|(id, (name, amount, is_deleted))| {
                let mut row = Row::from([
                    ("id".to_owned(), Some(id.to_string())),
                    ("name".to_owned(), name.map(|name| format!("n{name}"))),
                    ("amount".to_owned(), text(*amount)),
                ]);
                if self.deletes == Deletes::Soft {
                    row.insert("_highwater_deleted".to_owned(), Some(u8::from(*is_deleted).to_string()));
                }
                row
            })
            .collect()
    }
}

async fn run(deletes: Deletes, changes: Vec<Change>) {
    let database = Database::new();
    let options = DestinationOptions {
        write: Some(WriteMode::Upsert),
        deletes,
        ..DestinationOptions::default()
    };
    let mut writer = Writer {
        deletes,
        table: Table::new(),
        session: Some(database.open(options).await),
        rows: None,
        batches: Vec::new(),
        at: 0,
    };
    for change in &changes {
        writer.apply(&database, options, change).await;
    }
    writer.end_changeset().await;
    writer.session().commit().await.unwrap();
    let mut found = database.rows("items").unwrap_or_default();
    found.sort_by_key(|row| row["id"].as_deref().unwrap().parse::<u8>().unwrap());
    assert_eq!(found, writer.expected());
    writer.session.take().unwrap().close().await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn table_equals_the_map_after_any_changes(
        deletes in prop_oneof![Just(Deletes::Apply), Just(Deletes::Soft)],
        changes in prop::collection::vec(change(), 1..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(deletes, changes));
    }
}
