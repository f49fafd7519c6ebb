//! Opening a database for polling: what each checkpoint means in it, and where reading starts.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use api::{Context, Held, Opened, Plan, Retry, Verdict};
use model::{Partition, StreamId, StreamState};
use rusqlite::Connection;

use super::control::PollControl;
use super::cursor::{Cursor, Polled};
use super::{PollEngine, RUN};
use crate::capture::meta::schema_version;
use crate::connection::Access;
use crate::error::{Error, Result};
use crate::source::emitter::{Emitter, Flow};
use crate::source::position::{Bound, bound_of};
use crate::source::reads::{Cut, Read};
use crate::source::shape::{StreamShape, check_plan};
use crate::source::shared::Shared;
use crate::source::spec::SqliteSourceSpec;
use crate::source::{DELIVERIES_MAX, described, is_utf8, open_connection, spawn};

/// Opens a database for polling.
pub(in crate::source) fn open(
    path: &Path,
    spec: &Arc<SqliteSourceSpec>,
    plan: Plan,
    held: &[Held],
    cx: Context,
    handle: tokio::runtime::Handle,
) -> Result<Opened> {
    let conn = open_connection(path, Access::Read)?;
    let identity = identity(path);
    let mut streams = Vec::new();
    for planned in &plan.streams {
        streams.push(polled(&conn, path, spec, planned, &identity)?);
    }
    let mut verdicts = BTreeMap::new();
    let mut reads = Vec::new();
    let mut starts: BTreeMap<usize, Cursor> = BTreeMap::new();
    let mut continuing = Vec::new();
    for held in held {
        let verdict = judge(held, &streams, &plan);
        if matches!(verdict, Verdict::Continue) {
            continuing.push(held);
        }
        verdicts.insert(held.destination.clone(), verdict);
    }
    for (i, stream) in streams.iter().enumerate() {
        let id = stream.shape.stream();
        let mut going_on: BTreeMap<u32, Vec<Option<(u32, Bound)>>> = BTreeMap::new();
        for held in &continuing {
            if let Some(position) = held.checkpoint.marks.get(&stream.partition) {
                let cursor = Cursor::of_position(&stream.partition, position)?;
                starts
                    .entry(i)
                    .and_modify(|least| {
                        if cursor.order < least.order {
                            *least = cursor.clone()
                        }
                    })
                    .or_insert(cursor);
            }
            if let Some(StreamState::Reading { run, ranges, .. }) = held.checkpoint.streams.get(id) {
                let range = Partition::Range {
                    stream: id.clone(),
                    run: *run,
                    range: 0,
                };
                let at = held
                    .checkpoint
                    .marks
                    .get(&range)
                    .map(|position| bound_of(&range, position))
                    .transpose()?;
                // A stream in one window starts again from its first page; its rows are upserts all the same.
                let at = at.filter(|_| Cut::decode(ranges) == Some(Cut::ByKey));
                going_on.entry(*run).or_default().push(at);
            }
        }
        let cut = if stream.shape.order.is_some() {
            Cut::ByKey
        } else {
            Cut::OneWindow
        };
        reads.extend(
            going_on
                .into_iter()
                .map(|(run, held)| Read::resume(id.clone(), run, cut, held)),
        );
    }
    for (i, cursor) in starts {
        streams[i].at = Some(cursor);
    }
    let shared = Arc::new(Shared::new(cx.stop.clone()));
    let seen = held
        .iter()
        .flat_map(|h| h.checkpoint.streams.values())
        .map(StreamState::run)
        .max()
        .unwrap_or(0);
    let kept = cx
        .kept
        .get(RUN)
        .and_then(|run| Some(u32::from_be_bytes(run.as_ref().try_into().ok()?)))
        .unwrap_or(0);
    shared.run_floor.store(seen.max(kept), Ordering::Release);
    let mut looked_at = Vec::new();
    for planned in &plan.streams {
        looked_at.push(polled(&conn, path, spec, planned, &identity)?);
    }
    let looks_at = Arc::new(Mutex::new((open_connection(path, Access::Read)?, looked_at)));
    let (out, deliveries) = tokio::sync::mpsc::channel(DELIVERIES_MAX);
    let engine = PollEngine {
        schema_version: schema_version(&conn)?,
        conn,
        path: path.to_owned(),
        plan,
        spec: Arc::clone(spec),
        streams,
        reads,
        shared: Arc::clone(&shared),
        emitter: Emitter::new(handle, cx.memory.clone(), out, cx.stop.clone()),
        polled_at: None,
    };
    let threads = vec![spawn("sqlite-poll", path, move || engine.run())?];
    Ok(Opened {
        verdicts,
        reader: Box::new(Flow {
            deliveries,
            shared: Arc::clone(&shared),
            path: path.to_owned(),
            threads,
        }),
        control: Arc::new(PollControl {
            shared,
            kept: cx.kept,
            path: path.to_owned(),
            looks_at,
        }),
        identity,
    })
}

/// A database that may not be written to carries no identity of ours: it is the file that lies at the path.
pub(super) fn identity(path: &Path) -> String {
    let full = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    format!("sqlite-poll:{}", full.display())
}

pub(super) fn polled(
    conn: &Connection,
    path: &Path,
    spec: &SqliteSourceSpec,
    planned: &api::PlannedStream,
    identity: &str,
) -> Result<Polled> {
    let name = planned.id.name();
    let table = described(conn, path, name)?;
    check_plan(&table, planned)?;
    let refuse = |why: String| Error::NoCursor {
        stream: planned.id.clone(),
        why,
    };
    let column = spec
        .cursor
        .get(name)
        .ok_or_else(|| refuse("no cursor column is named for it".to_owned()))?;
    let cursor = table
        .columns
        .iter()
        .position(|of| &of.name == column)
        .ok_or_else(|| refuse(format!("it has no column `{column}`")))?;
    let shape = Arc::new(StreamShape::new(table, planned, is_utf8(conn)?)?);
    Ok(Polled {
        shape,
        cursor,
        partition: Partition::log(format!("{identity}/{}", planned.id)),
        at: None,
        is_announced: false,
    })
}

fn judge(held: &Held, streams: &[Polled], plan: &Plan) -> Verdict {
    let is_known = |id: &StreamId| {
        streams
            .iter()
            .any(|s| s.shape.stream() == id && held.checkpoint.marks.contains_key(&s.partition))
    };
    let wanted = held
        .checkpoint
        .streams
        .keys()
        .filter(|id| plan.streams.iter().any(|planned| &planned.id == *id));
    match wanted.into_iter().find(|id| !is_known(id)) {
        None => Verdict::Continue,
        Some(id) => Verdict::OtherHistory(
            api::Error::new(
                "E0229",
                Retry::Operator,
                format!(
                    "cannot resume `{}`/`{}`: its checkpoint of `{id}` is of another database",
                    plan.pipeline, held.destination
                ),
            )
            .hint(format!(
                "run `highwater resync {} --destination {}`",
                plan.pipeline, held.destination
            )),
        ),
    }
}
