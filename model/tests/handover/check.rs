//! What must hold of what a destination has committed, after every commit.

use std::collections::BTreeMap;

use model::{Mark, Order, Partition, StreamState};

use crate::Failure;
use crate::destination::Destination;
use crate::rows::{log, stream};
use crate::seen::Seen;
use crate::source::{bound, uppers};
use crate::world::{TABLES, Table, World};

/// The invariant: the rows of a table = the source's rows at the destination's log mark, restricted to the pages it holds;
/// of a live one, all of them; of one that it does not hold, none.
///
/// Which pages are held is read from the bounds in the tokens, not asked of `model`.
pub(crate) fn check_prefix(world: &World, destination: &Destination, seen: &mut Seen) -> Result<(), Failure> {
    seen.commits += 1;
    let checkpoint = &destination.checkpoint;
    for (t, held) in destination.tables.iter().enumerate() {
        let Some(state) = checkpoint.streams.get(stream(t)) else {
            if !held.current().is_empty() || held.has_stale_rows() {
                return Err(Failure::new(format!("`{}` has rows, but it is not held", TABLES[t])));
            }
            continue;
        };
        let Mark::At(mark) = checkpoint.mark(&log()) else {
            return Err(Failure::new(format!(
                "`{}` is held without a place in the log",
                TABLES[t]
            )));
        };
        let all = &world.tables_at(mark.key())[t];
        let expected: Table = match state {
            StreamState::Live { .. } if held.has_stale_rows() => {
                return Err(Failure::new(format!(
                    "`{}` is live with rows of an earlier read",
                    TABLES[t]
                )));
            }
            StreamState::Live { .. } => all.as_ref().clone(),
            StreamState::Reading { run, ranges, .. } => {
                seen.checks_of_partly_read_tables += 1;
                let is_held = |key: i64| is_held(destination, t, *run, &uppers(ranges), key);
                all.iter()
                    .filter(|&(&key, _)| is_held(key))
                    .map(|(&k, &v)| (k, v))
                    .collect()
            }
        };
        compare(t, mark, &expected, &held.current()).map_err(|failure| {
            let message = format!("{failure}\n  {:?} holds {checkpoint:?}", destination.id);
            Failure::new(message)
        })?;
    }
    Ok(())
}

fn is_held(destination: &Destination, table: usize, run: u32, uppers: &[i64], key: i64) -> bool {
    let range = uppers
        .iter()
        .position(|&upper| key <= upper)
        .expect("the last range ends nowhere");
    let partition = Partition::Range {
        stream: stream(table).clone(),
        run,
        range: range as u16,
    };
    let last_page = destination.checkpoint.marks.get(&partition);
    last_page.is_some_and(|position| key <= bound(&position.token))
}

fn compare(table: usize, mark: Order, expected: &BTreeMap<i64, i64>, got: &BTreeMap<i64, i64>) -> Result<(), Failure> {
    if expected == got {
        return Ok(());
    }
    let differs = |a: &BTreeMap<i64, i64>, b: &BTreeMap<i64, i64>| -> Vec<(i64, i64)> {
        let differs = a.iter().filter(|&(key, value)| b.get(key) != Some(value));
        differs.map(|(&key, &value)| (key, value)).collect()
    };
    let (lost, extra) = (differs(expected, got), differs(got, expected));
    let message = format!("`{}` at {mark}: lacks {lost:?}, has {extra:?} instead", TABLES[table]);
    Err(Failure::new(message))
}
