//! Sending what is pending for a stream: new rows by COPY into the table, every other kind of change by COPY into a temporary
//! table and one statement.
//!
//! Constraints:
//! - one attempt is one savepoint, so what the server refuses leaves the transaction usable;
//! - a deadlock or a lock that is not free in time is tried again here, with nothing of it left behind;
//! - rows count as new on the word of the source; if one is there all the same, nothing is taken for new;
//! - a row that the server refuses is found by halving, and named.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use bytes::BufMut as _;
use model::StreamId;

use super::error::{Error, Result};
use super::link::{Encoded, Link};
use super::pending::{Fields, Pending, Step, value_of};
use super::server_error::{self, Class};
use super::target::{APPENDED, Target, join, parameter_type};
use crate::identifier::Relation;

/// How often the same rows are sent before the whole transaction is given up.
const ATTEMPTS_MAX: u32 = 5;

/// Temporary tables that a session keeps between transactions. Each costs every commit a look at it; a new one costs a
/// transaction rows in the catalogue.
const STAGES_MAX: usize = 64;

/// The temporary tables of a session.
#[derive(Debug, Default)]
pub(crate) struct Stages {
    /// By table and columns.
    made: HashMap<(Relation, Vec<usize>), Stage>,
    /// Those that have rows since the transaction began.
    dirty: HashSet<String>,
    number: u64,
}

#[derive(Debug, Clone)]
struct Stage {
    name: String,
    outlives: bool,
}

impl Stages {
    /// The temporary table for some columns of a target, made if it is not there.
    async fn ensure(
        &mut self,
        link: &Link,
        target: &Target,
        columns: &[usize],
    ) -> Result<String, tokio_postgres::Error> {
        let key = (target.relation.clone(), columns.to_vec());
        if let Some(stage) = self.made.get(&key) {
            return Ok(stage.name.clone());
        }
        let outlives = !link.is_pooled() && self.made.len() < STAGES_MAX;
        self.number += 1;
        let name = format!(r#"pg_temp."_highwater_{}""#, self.number);
        link.run(&target.stage_sql(&name, columns, outlives)).await?;
        let stage = Stage {
            name: name.clone(),
            outlives,
        };
        self.made.insert(key, stage);
        Ok(name)
    }

    /// The statement that empties a stage, if an earlier flush of this transaction has filled it.
    fn clearing(&mut self, stage: &str) -> Option<String> {
        (!self.dirty.insert(stage.to_owned())).then(|| format!("TRUNCATE {stage}"))
    }

    /// After a commit.
    pub(crate) fn end_transaction(&mut self) {
        self.dirty.clear();
        self.made.retain(|_, stage| stage.outlives);
    }

    /// The table has changed: what was made after its image is of no more use.
    pub(crate) async fn forget(&mut self, link: &Link, relation: &Relation) -> Result<(), tokio_postgres::Error> {
        let stale: Vec<String> = self
            .made
            .iter()
            .filter(|((of, _), _)| of == relation)
            .map(|(_, stage)| format!("DROP TABLE {}", stage.name))
            .collect();
        if !stale.is_empty() {
            link.run(&stale.join("; ")).await?;
            self.made.retain(|(of, _), _| of != relation);
        }
        Ok(())
    }
}

/// Why an attempt failed.
enum Failure {
    Server(tokio_postgres::Error),
    /// A patch met no row.
    NotWhole,
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Failure::Server(error)
    }
}

/// Changes sorted by what is done, as numbers of changes.
#[derive(Default)]
struct Groups {
    removes: Vec<usize>,
    deletes: Vec<usize>,
    patches: BTreeMap<usize, Vec<usize>>,
    puts: Vec<usize>,
    /// New rows, which need no look at the table.
    inserts: Vec<usize>,
}

impl Groups {
    fn of(pending: &Pending, changes: &[usize], trusts_new: bool) -> Groups {
        let mut groups = Groups::default();
        for &at in changes {
            match pending.step(at) {
                Step::Put if trusts_new && pending.is_new(at) => groups.inserts.push(at),
                Step::Put => groups.puts.push(at),
                Step::Patch(mask) => groups.patches.entry(mask).or_default().push(at),
                Step::Delete => groups.deletes.push(at),
                Step::Remove => groups.removes.push(at),
            }
        }
        groups
    }
}

/// What the table said of rows that the source called new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NewRows {
    /// They were, if any came.
    WereNew,
    /// One was there already.
    WereThere,
}

/// One stream's changes on their way.
pub(crate) struct Flush<'a> {
    pub(crate) link: &'a mut Link,
    pub(crate) stages: &'a mut Stages,
    pub(crate) target: &'a Target,
    pub(crate) pending: &'a Pending,
}

impl Flush<'_> {
    /// Sends everything.
    ///
    /// `trusts_new`: whether rows that the source calls new are taken for new. While existing rows are read again, the table may
    /// have them from an earlier read.
    pub(crate) async fn run(mut self, trusts_new: bool) -> Result<NewRows> {
        let changes: Vec<usize> = (0..self.pending.len()).collect();
        let is_appended = self.target.key.is_empty();
        let trusts_new = is_appended || (trusts_new && self.target.seen.is_none());
        let mut error = match self.attempts(&changes, trusts_new).await? {
            Ok(()) => return Ok(NewRows::WereNew),
            Err(error) => error,
        };
        let mut new_rows = NewRows::WereNew;
        if trusts_new && !is_appended && server_error::is_unique_violation(&error) {
            new_rows = NewRows::WereThere;
            match self.attempts(&changes, false).await? {
                Ok(()) => return Ok(new_rows),
                Err(left) => error = left,
            }
        }
        self.isolate(changes, error, is_appended).await.map(|()| new_rows)
    }

    /// Sends some changes until nobody is in the way. The inner error is one that a row has caused.
    async fn attempts(
        &mut self,
        changes: &[usize],
        trusts_new: bool,
    ) -> Result<std::result::Result<(), tokio_postgres::Error>> {
        let mut attempt = 1;
        loop {
            let error = match self.once(changes, trusts_new).await {
                Ok(()) => return Ok(Ok(())),
                Err(Failure::NotWhole) => {
                    return Err(Error::NotWhole {
                        stream: self.stream().clone(),
                        table: self.target.relation.to_string(),
                    });
                }
                Err(Failure::Server(error)) => error,
            };
            if server_error::is_connection_lost(&error) {
                return Err(self.writing(error));
            }
            if let Err(error) = self
                .link
                .run("ROLLBACK TO SAVEPOINT highwater; RELEASE SAVEPOINT highwater")
                .await
            {
                return Err(self.writing(error));
            }
            if server_error::is_contention(&error) {
                if attempt == ATTEMPTS_MAX {
                    return Err(Error::Contention {
                        stream: self.stream().clone(),
                        table: self.target.relation.to_string(),
                        attempts: attempt,
                        source: error,
                    });
                }
                tokio::time::sleep(backoff(attempt)).await;
                attempt += 1;
                continue;
            }
            return match server_error::class(&error) {
                Class::Row => Ok(Err(error)),
                _ => Err(self.writing(error)),
            };
        }
    }

    async fn once(&mut self, changes: &[usize], trusts_new: bool) -> std::result::Result<(), Failure> {
        let groups = Groups::of(self.pending, changes, trusts_new);
        // Before the savepoint: it must not take them away again.
        self.make_stages(&groups).await?;
        self.link.run("SAVEPOINT highwater").await?;
        self.merge(&groups).await?;
        // Last: what they hold under a unique constraint may have been another row's until now.
        if !groups.inserts.is_empty() {
            self.insert(&groups.inserts).await?;
        }
        fail::fail_point!("postgres.destination.mid_write");
        self.link.run("RELEASE SAVEPOINT highwater").await?;
        Ok(())
    }

    async fn insert(&mut self, changes: &[usize]) -> std::result::Result<(), Failure> {
        let ours = if self.target.key.is_empty() { APPENDED.len() } else { 0 };
        let count = self.target.columns.len() + ours;
        let pending = self.pending;
        let mut changes = changes.iter();
        let copy = self.target.copy_sql();
        self.link
            .copy(&copy, |out| match changes.next() {
                Some(&at) => {
                    out.put_i16(count as i16);
                    out.put_slice(pending.row(at));
                    true
                }
                None => false,
            })
            .await?;
        Ok(())
    }

    async fn make_stages(&mut self, groups: &Groups) -> std::result::Result<(), Failure> {
        let target = self.target;
        if !groups.removes.is_empty() || !groups.deletes.is_empty() {
            self.stages.ensure(self.link, target, &target.key).await?;
        }
        for &mask in groups.patches.keys() {
            let columns = self.patched(mask);
            self.stages.ensure(self.link, target, &columns).await?;
        }
        if !groups.puts.is_empty() {
            self.stages.ensure(self.link, target, &target.all()).await?;
        }
        Ok(())
    }

    /// Key and sent columns, in the order of the columns.
    fn patched(&self, mask: usize) -> Vec<usize> {
        let sent = self.pending.sent(mask);
        (0..sent.len())
            .filter(|at| sent[*at] || self.target.key.contains(at))
            .collect()
    }

    async fn merge(&mut self, groups: &Groups) -> std::result::Result<(), Failure> {
        let target = self.target;
        let (key, all) = (target.key.clone(), target.all());
        if !groups.removes.is_empty() {
            let stage = self.stage(&key, &groups.removes).await?;
            self.link.run(&target.remove_staged_sql(&stage)).await?;
        }
        if !groups.deletes.is_empty() {
            let stage = self.stage(&key, &groups.deletes).await?;
            if let Some(delete) = target.delete_staged_sql(&stage) {
                self.link.run(&delete).await?;
            }
        }
        for (&mask, changes) in &groups.patches {
            let columns = self.patched(mask);
            let stage = self.stage(&columns, changes).await?;
            if let Some(patch) = target.patch_staged_sql(&stage, &columns)
                && self.link.count(&patch).await? != changes.len() as u64
            {
                return Err(Failure::NotWhole);
            }
            self.note(&stage).await?;
        }
        if !groups.puts.is_empty() {
            let stage = self.stage(&all, &groups.puts).await?;
            self.link.run(&target.put_staged_sql(&stage)).await?;
            self.note(&stage).await?;
        }
        Ok(())
    }

    /// Fills the stage of some columns with some changes.
    async fn stage(&mut self, columns: &[usize], changes: &[usize]) -> Result<String, tokio_postgres::Error> {
        let stage = self.stages.ensure(self.link, self.target, columns).await?;
        if let Some(clear) = self.stages.clearing(&stage) {
            self.link.run(&clear).await?;
        }
        let (pending, count) = (self.pending, columns.len());
        let is_part = |at: usize| matches!(pending.step(at), Step::Patch(_));
        let mut changes = changes.iter();
        self.link
            .copy(&format!("COPY {stage} FROM STDIN (FORMAT binary)"), |out| {
                let Some(&at) = changes.next() else { return false };
                out.put_i16(count as i16);
                if is_part(at) {
                    for (place, field) in pending.fields(at).enumerate() {
                        if columns.binary_search(&place).is_ok() {
                            out.put_slice(field);
                        }
                    }
                } else {
                    out.put_slice(pending.row(at));
                }
                true
            })
            .await?;
        Ok(stage)
    }

    async fn note(&mut self, stage: &str) -> Result<(), tokio_postgres::Error> {
        match &self.target.seen {
            Some(seen) => self.link.run(&self.target.note_staged_sql(seen, stage)).await,
            None => Ok(()),
        }
    }

    /// Finds the row that the server refuses. Halves that succeed stay applied, so that the error stays the same one; if
    /// everything succeeds in pieces, there was none.
    async fn isolate(
        &mut self,
        mut changes: Vec<usize>,
        mut error: tokio_postgres::Error,
        trusts_new: bool,
    ) -> Result<()> {
        let mut has_failed = true;
        while changes.len() > 1 {
            let rest = changes.split_off(changes.len() / 2);
            match self.attempts(&changes, trusts_new).await? {
                Err(left) => (error, has_failed) = (left, true),
                Ok(()) => (changes, has_failed) = (rest, false),
            }
        }
        if !has_failed {
            match self.attempts(&changes, trusts_new).await? {
                Ok(()) => return Ok(()),
                Err(last) => error = last,
            }
        }
        let key = match changes.first() {
            Some(&at) => self.key_text(at).await,
            None => String::new(),
        };
        let what = match (server_error::column(&error), server_error::constraint(&error)) {
            (Some(column), _) => format!("column `{column}`"),
            (None, Some(constraint)) => format!("constraint `{constraint}`: a value"),
            (None, None) => "a value".to_owned(),
        };
        Err(Error::Row {
            stream: self.stream().clone(),
            table: self.target.relation.to_string(),
            what,
            key,
            source: error,
        })
    }

    /// The key of a change as the server prints it.
    async fn key_text(&self, at: usize) -> String {
        let target = self.target;
        let fields: Vec<&[u8]> = self.pending.fields(at).collect();
        let is_key_only = matches!(self.pending.step(at), Step::Delete | Step::Remove);
        let places: Vec<usize> = target
            .schema
            .key()
            .iter()
            .filter_map(|index| target.columns.iter().position(|column| column.index == *index))
            .collect();
        let mut parts = Vec::new();
        for (n, place) in places.into_iter().enumerate() {
            let column = &target.columns[place];
            let field = fields.get(if is_key_only { n } else { place });
            let value = Encoded(field.and_then(|field| value_of(field)));
            let text = self
                .link
                .query("SELECT left($1::text, 100)", &[(&value, parameter_type(&column.ty))])
                .await;
            let text = text
                .ok()
                .and_then(|rows| rows.first()?.try_get::<_, Option<String>>(0).ok().flatten());
            parts.push(format!("{}={}", column.name, text.as_deref().unwrap_or("?")));
        }
        if parts.is_empty() {
            return "(none)".to_owned();
        }
        join(parts.into_iter(), ", ")
    }

    fn stream(&self) -> &StreamId {
        self.target.schema.stream()
    }

    fn writing(&self, source: tokio_postgres::Error) -> Error {
        Error::Sql {
            doing: format!("write rows of `{}` to table {}", self.stream(), self.target.relation),
            source,
        }
    }
}

/// How long to wait before an attempt: longer each time, and not as long as whoever was in the way waits.
fn backoff(attempt: u32) -> Duration {
    let [random, ..] = *uuid::Uuid::new_v4().as_bytes();
    Duration::from_millis(10 << attempt).mul_f32(1.0 + f32::from(random) / 256.0)
}

/// The fields of a key, as parameters.
pub(crate) fn values(fields: &[u8]) -> Vec<Encoded<'_>> {
    Fields(fields).map(|field| Encoded(value_of(field))).collect()
}
