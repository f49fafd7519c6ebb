//! What each destination's checkpoint means in this database, and where reading starts.
//!
//! | the checkpoint's log position | verdict |
//! |---|---|
//! | none, and no stream | continue: a new destination, which gets what it is read |
//! | of another log, or none although streams are held | other history |
//! | its mark is missing or has another nonce, the change row at it is another, or it lies beyond the head | other history: the database was restored; the log's incarnation grows |
//! | before what is pruned | position lost |
//! | else | continue |

use std::collections::BTreeMap;

use api::{Error as ApiError, Held, Plan, Retry, Verdict};
use model::{DestinationId, Order, Partition, StreamId, StreamState};
use rusqlite::Connection;

use super::engine::{Reread, Start};
use super::position::{Bound, bound_of, log_partition, order, proof_of, seq_of};
use super::reads::{Cut, Read};
use crate::capture::install::Captured;
use crate::capture::marks::{self, Mark};
use crate::capture::names::Names;
use crate::error::Result;

/// The verdicts, and the start that follows from those who can continue.
pub(crate) struct Resumption {
    pub(crate) verdicts: BTreeMap<DestinationId, Verdict>,
    pub(crate) start: Start,
    /// The largest run number that any checkpoint names.
    pub(crate) run_floor: u32,
}

/// Judges every checkpoint and finds the start.
pub(crate) fn resume(
    conn: &mut Connection,
    names: &Names,
    captured: &Captured,
    plan: &Plan,
    held: &[Held],
) -> Result<Resumption> {
    let partition = log_partition(&captured.history);
    let head = marks::head(conn, names)?;
    let pruned = marks::pruned(conn, names)?;
    let mut verdicts = BTreeMap::new();
    let mut standing: Vec<(&Held, Order, Mark)> = Vec::new();
    let mut was_restored = false;
    for held in held {
        let judged = judge(conn, names, &partition, head, pruned, held)?;
        was_restored |= matches!(judged, Judged::Restored);
        if let Judged::At(order, mark) = judged {
            standing.push((held, order, mark));
        }
        verdicts.insert(held.destination.clone(), verdict(judged, held, names, head, pruned));
    }
    let incarnation = if was_restored {
        marks::begin_incarnation(conn, names)?
    } else {
        marks::incarnation(conn, names)?
    };
    let run_floor = held
        .iter()
        .flat_map(|h| h.checkpoint.streams.values())
        .map(StreamState::run)
        .max()
        .unwrap_or(0);
    // Marks of ours may have come in meanwhile, but no position can lie beyond what was issued.
    let head = marks::head(conn, names)?;
    let known_upto = head.min(marks::issued(conn, names)?);
    let first = standing
        .iter()
        .min_by_key(|(_, order, _)| *order)
        .map(|(_, order, mark)| (*order, *mark));
    let (announced_order, mark) = match first {
        Some(first) => first,
        None => {
            let mark = marks::newest(conn, names)?.unwrap_or(Mark { seq: 0, nonce: 0 });
            (order(incarnation, head), mark)
        }
    };
    let announced = seq_of(announced_order);
    let (reads, rereads) = streams(captured, plan, &standing, announced)?;
    let start = Start {
        announced_order,
        announced,
        mark,
        incarnation,
        known_upto,
        reads,
        rereads,
    };
    Ok(Resumption {
        verdicts,
        start,
        run_floor,
    })
}

enum Judged {
    New,
    At(Order, Mark),
    Lost(i64),
    Restored,
    OtherLog,
}

fn judge(
    conn: &Connection,
    names: &Names,
    partition: &Partition,
    head: i64,
    pruned: i64,
    held: &Held,
) -> Result<Judged> {
    if held.checkpoint.is_empty() {
        return Ok(Judged::New);
    }
    let Some(position) = held.checkpoint.marks.get(partition) else {
        let is_bare = held.checkpoint.streams.is_empty() && held.checkpoint.log_marks().next().is_none();
        return Ok(if is_bare { Judged::New } else { Judged::OtherLog });
    };
    let proof = proof_of(partition, position)?;
    let seq = seq_of(position.order);
    if seq > head {
        return Ok(Judged::Restored);
    }
    if seq < pruned {
        return Ok(Judged::Lost(seq));
    }
    let is_same_row = match marks::fingerprint(conn, names, seq)? {
        _ if proof.fingerprint == 0 => true,
        Some(found) => found == proof.fingerprint,
        // Only what was acknowledged may be gone.
        None => seq == pruned,
    };
    match is_same_row && marks::is_there(conn, names, proof.mark)? {
        true => Ok(Judged::At(position.order, proof.mark)),
        false => Ok(Judged::Restored),
    }
}

fn verdict(judged: Judged, held: &Held, names: &Names, head: i64, pruned: i64) -> Verdict {
    let (pipeline, destination) = (names.pipeline(), held.destination.as_str());
    let resync = format!("run `highwater resync {pipeline} --destination {destination}`");
    match judged {
        Judged::New | Judged::At(..) => Verdict::Continue,
        Judged::Lost(seq) => Verdict::PositionLost(
            ApiError::new(
                "E0228",
                Retry::Operator,
                format!(
                    "cannot resume `{pipeline}`/`{destination}` at {seq}: the change table is pruned up to {pruned} (inclusive)"
                ),
            )
            .hint(resync),
        ),
        Judged::Restored => Verdict::OtherHistory(
            ApiError::new(
                "E0229",
                Retry::Operator,
                format!(
                    "cannot resume `{pipeline}`/`{destination}`: the database does not have the change that it stands at (head {head}); it was restored from a backup"
                ),
            )
            .hint(resync),
        ),
        Judged::OtherLog => Verdict::OtherHistory(
            ApiError::new(
                "E0229",
                Retry::Operator,
                format!(
                    "cannot resume `{pipeline}`/`{destination}`: its checkpoint is of another database, or of a change table that was removed since"
                ),
            )
            .hint(resync),
        ),
    }
}

/// Reads that go on, and streams of which something was missed.
fn streams(
    captured: &Captured,
    plan: &Plan,
    standing: &[(&Held, Order, Mark)],
    announced: i64,
) -> Result<(Vec<Read>, Vec<Reread>)> {
    let mut reads = Vec::new();
    let mut rereads = Vec::new();
    for planned in &plan.streams {
        let Some(layout) = captured.current(planned.id.name()) else {
            continue;
        };
        let mut missed = Vec::new();
        let mut restarted = Vec::new();
        let mut going_on: BTreeMap<u32, Vec<Option<(u32, Bound)>>> = BTreeMap::new();
        for (held, order, _) in standing {
            let Some(state) = held.checkpoint.streams.get(&planned.id) else {
                continue;
            };
            if seq_of(*order) < layout.since {
                missed.push(held.destination.clone());
                continue;
            }
            if let StreamState::Reading { run, ranges, .. } = state {
                match Cut::decode(ranges) {
                    Some(Cut::ByKey) => going_on
                        .entry(*run)
                        .or_default()
                        .push(page_held(held, &planned.id, *run)?),
                    // Only one window is exact, and this process has another.
                    Some(Cut::OneWindow) | None => restarted.push(held.destination.clone()),
                }
            }
        }
        reads.extend(
            going_on
                .into_iter()
                .map(|(run, held)| Read::resume(planned.id.clone(), run, Cut::ByKey, held)),
        );
        for (at, destinations) in [(layout.since, missed), (announced, restarted)] {
            if !destinations.is_empty() {
                rereads.push(Reread {
                    stream: planned.id.clone(),
                    at,
                    destinations: Some(destinations),
                });
            }
        }
    }
    Ok((reads, rereads))
}

fn page_held(held: &Held, stream: &StreamId, run: u32) -> Result<Option<(u32, Bound)>> {
    let range = Partition::Range {
        stream: stream.clone(),
        run,
        range: 0,
    };
    held.checkpoint
        .marks
        .get(&range)
        .map(|position| bound_of(&range, position))
        .transpose()
}
