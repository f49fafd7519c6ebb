//! What each destination's checkpoint means at this server, and where reading starts.
//!
//! | the checkpoint's log position | verdict |
//! |---|---|
//! | none, and no stream | continue: a new destination, which gets what it is read |
//! | of another log, or none although streams are held | other history |
//! | on another timeline, beyond where that was left; or beyond the end of the log | other history: the server was restored |
//! | before what the slot still has | position lost |
//! | else | continue |
//!
//! PostgreSQL skips forward in silence when it is asked for something older than the slot's `confirmed_flush_lsn`, so that is
//! compared here, at every open.

use std::collections::BTreeMap;

use api::{Held, Plan, Verdict};
use model::{DestinationId, Order, Partition, StreamId, StreamState};

use super::error::Error;
use super::position::{Bound, bound_of, end_of, order_before, timeline_of};
use super::reads::{Cut, Read, Request};
use super::spec::Names;
use crate::replication::Lsn;

/// What the checkpoints are compared with.
pub(crate) struct Log<'a> {
    pub(crate) partition: &'a Partition,
    /// The slot has every commit record from here on.
    pub(crate) starts: Lsn,
    /// Where the log ends now.
    pub(crate) ends: Lsn,
    pub(crate) timeline: u32,
    /// For each earlier timeline of this history: where it was left.
    pub(crate) left: BTreeMap<u32, Lsn>,
}

/// The verdicts, and the start that follows from those who can continue.
pub(crate) struct Resumption {
    pub(crate) verdicts: BTreeMap<DestinationId, Verdict>,
    /// The smallest position of those that go on.
    pub(crate) start: Order,
    pub(crate) reads: Vec<Read>,
    /// Reads that only one window could serve, and that begin again.
    pub(crate) restarts: Vec<Request>,
    /// The largest run number that any checkpoint names.
    pub(crate) run_floor: u32,
}

impl Resumption {
    /// Streams that were not in the publication until now, although destinations hold them: their tables were dropped and
    /// made anew, or somebody took them out of it. What changed meanwhile is not in the log, so they are read again.
    pub(crate) fn read_again(&mut self, added: &[StreamId], held: &[Held], names: &Names) {
        for stream in added {
            let goes_on = |held: &&Held| matches!(self.verdicts.get(&held.destination), Some(Verdict::Continue));
            let holders = held.iter().filter(goes_on);
            let holders = holders.filter(|held| held.checkpoint.streams.contains_key(stream));
            let holders: Vec<DestinationId> = holders.map(|held| held.destination.clone()).collect();
            if holders.is_empty() {
                continue;
            }
            tracing::warn!(
                code = "W0256",
                pipeline = names.pipeline,
                %stream,
                publication = names.publication,
                "the publication did not have the table any more, so its changes are not in the log: it is read again"
            );
            self.reads.retain(|read| &read.stream != stream);
            self.restarts.retain(|request| !request.streams.contains(stream));
            self.restarts.push(Request {
                streams: vec![stream.clone()],
                destinations: Some(holders),
                empty_first: true,
                run: 0,
                by_key: false,
            });
        }
    }
}

/// Judges every checkpoint and finds the start.
pub(crate) fn resume(log: &Log<'_>, names: &Names, plan: &Plan, held: &[Held]) -> api::Result<Resumption> {
    let mut verdicts = BTreeMap::new();
    let mut standing: Vec<(&Held, Order)> = Vec::new();
    for held in held {
        let verdict = match judge(log, names, held)? {
            Ok(None) => Verdict::Continue,
            Ok(Some(order)) => {
                standing.push((held, order));
                Verdict::Continue
            }
            Err(error @ Error::SlotAhead { .. }) => Verdict::PositionLost(error.into()),
            Err(error) => Verdict::OtherHistory(error.into()),
        };
        verdicts.insert(held.destination.clone(), verdict);
    }
    let first = standing.iter().map(|(_, order)| *order).min();
    let run_floor = held
        .iter()
        .flat_map(|held| held.checkpoint.streams.values())
        .map(StreamState::run)
        .max()
        .unwrap_or(0);
    let (reads, restarts) = reads(plan, &standing)?;
    Ok(Resumption {
        verdicts,
        start: first.unwrap_or_else(|| order_before(log.starts)),
        reads,
        restarts,
        run_floor,
    })
}

/// Where a destination stands; `None` for one that holds nothing.
fn judge(log: &Log<'_>, names: &Names, held: &Held) -> api::Result<Result<Option<Order>, Error>> {
    let other = |why: String| {
        Ok(Err(Error::OtherHistory {
            pipeline: names.pipeline.clone(),
            destination: held.destination.to_string(),
            why,
        }))
    };
    let Some(position) = held.checkpoint.marks.get(log.partition) else {
        let is_bare = held.checkpoint.streams.is_empty() && held.checkpoint.log_marks().next().is_none();
        return if is_bare {
            Ok(Ok(None))
        } else {
            other("its checkpoint is of another server, database or slot".to_owned())
        };
    };
    let end = end_of(position.order);
    let timeline = timeline_of(log.partition, position)?;
    if timeline != log.timeline {
        match log.left.get(&timeline) {
            Some(left) if end <= *left => {}
            Some(left) => {
                return other(format!(
                    "it is at {end} of timeline {timeline}, which this server left at {left} for timeline {}",
                    log.timeline
                ));
            }
            None => {
                return other(format!(
                    "it is on timeline {timeline}, of which the server's timeline {} knows nothing",
                    log.timeline
                ));
            }
        }
    }
    if end > log.ends {
        return other(format!(
            "it is at {end}, but the server's log ends at {}; it was restored from a backup",
            log.ends
        ));
    }
    if end < log.starts {
        return Ok(Err(Error::SlotAhead {
            pipeline: names.pipeline.clone(),
            destination: held.destination.to_string(),
            at: end,
            slot: names.slot.clone(),
            starts: log.starts,
        }));
    }
    Ok(Ok(Some(position.order)))
}

/// What a destination holds of a range: its last page and where that ends.
type HeldPage = (DestinationId, Option<(u32, Bound)>);

/// Reads that go on, and reads that must begin again.
fn reads(plan: &Plan, standing: &[(&Held, Order)]) -> api::Result<(Vec<Read>, Vec<Request>)> {
    let mut reads = Vec::new();
    let mut restarts: Vec<Request> = Vec::new();
    for planned in &plan.streams {
        let mut going_on: BTreeMap<u32, Vec<HeldPage>> = BTreeMap::new();
        let mut restarted: Vec<DestinationId> = Vec::new();
        for (held, _) in standing {
            let Some(StreamState::Reading { run, ranges, given_up }) = held.checkpoint.streams.get(&planned.id) else {
                continue;
            };
            let range = Partition::Range {
                stream: planned.id.clone(),
                run: *run,
                range: 0,
            };
            let at = held.checkpoint.marks.get(&range);
            let at = at.map(|position| bound_of(&range, position)).transpose()?;
            match Cut::decode(ranges) {
                Some((Cut::ByKey, _)) if given_up.is_empty() => {
                    going_on.entry(*run).or_default().push((held.destination.clone(), at));
                }
                Some((Cut::Nothing, _)) => {
                    let at_end = Some((0, Bound::End));
                    going_on
                        .entry(*run)
                        .or_default()
                        .push((held.destination.clone(), at_end));
                }
                // Nothing of it was taken yet, so any window serves.
                Some((Cut::OneWindow, _)) if at.is_none() => {
                    going_on.entry(*run).or_default().push((held.destination.clone(), None));
                }
                // Only one window is exact, and this process has another.
                _ => restarted.push(held.destination.clone()),
            }
        }
        for (run, held) in going_on {
            let (destinations, held): (Vec<_>, Vec<_>) = held.into_iter().unzip();
            let cut = standing
                .iter()
                .find_map(|(of, _)| match of.checkpoint.streams.get(&planned.id) {
                    Some(StreamState::Reading { run: its, ranges, .. }) if *its == run => Cut::decode(ranges),
                    _ => None,
                });
            let Some((cut, of)) = cut else {
                continue;
            };
            let mut read = Read::resume(planned.id.clone(), run, cut, of, held);
            read.destinations = Some(destinations);
            reads.push(read);
        }
        if !restarted.is_empty() {
            restarts.push(Request {
                streams: vec![planned.id.clone()],
                destinations: Some(restarted),
                empty_first: true,
                run: 0,
                by_key: false,
            });
        }
    }
    Ok((reads, restarts))
}
