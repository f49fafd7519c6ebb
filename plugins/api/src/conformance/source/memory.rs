use std::time::Duration;

use super::stage::{Copy, DEADLINE, Stage};
use super::{Change, SourceHarness};
use crate::conformance::{Promise, Unkept, ensure, require};

/// Rows of about a kilobyte.
fn wide_inserts(ids: std::ops::Range<i64>) -> Vec<Change> {
    ids.map(|id| Change::Insert {
        stream: 0,
        id,
        name: Some(format!("{id:01000}")),
    })
    .collect()
}

/// While nobody drops what was emitted, reservations grow to the share and no further; then `next` waits, and goes on when
/// something is dropped.
pub async fn reader_waits_for_memory_and_goes_on(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    stage.memory_bytes = 256 << 10;
    let (mut copy, mut run) = stage.bring_up("a").await?;
    for block in 0..20 {
        stage.apply(&wide_inserts(block * 50..(block + 1) * 50)).await?;
    }
    let mut held = Vec::new();
    let mut waits = 0;
    let since = std::time::Instant::now();
    loop {
        ensure!(
            since.elapsed() < DEADLINE,
            "the reader did not come to its end within {DEADLINE:?}"
        );
        match tokio::time::timeout(Duration::from_millis(300), run.reader.next()).await {
            Ok(next) => {
                held.push(next?.ok_or_else(|| Unkept::broken("the reader ended"))?);
                let reserved: usize = held
                    .iter()
                    .map(|emission: &crate::Emission| emission.reservation.bytes())
                    .sum();
                ensure!(
                    reserved <= run.share.limit_bytes(),
                    "{reserved} bytes are reserved of {}",
                    run.share.limit_bytes()
                );
            }
            Err(_) if held.is_empty() => break,
            // It waits: for memory, since something is held.
            Err(_) => {
                waits += 1;
                for emission in held.drain(..) {
                    stage.deliver(&mut run, emission, &mut [&mut copy]).await?;
                }
            }
        }
    }
    ensure!(waits > 0, "1 MB of rows went through a share of 256 KiB without a wait");
    stage.settle(&mut run, &mut [&mut copy]).await
}

/// A transaction much larger than the largest changeset arrives in pieces of about that size, as one.
pub async fn large_transaction_comes_in_parts(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    stage.changeset_bytes_max = 32 << 10;
    let (mut copy, mut run) = stage.bring_up("a").await?;
    let held = Copy::on("a", copy.replica.fork()).await?;
    stage.apply(&wide_inserts(0..1_000)).await?;
    let mut largest = 0;
    let mut emission_count = 0;
    let since = std::time::Instant::now();
    while copy.replica.row_count(&harness.streams()[0]) < 1_000 {
        ensure!(
            since.elapsed() < DEADLINE,
            "the transaction did not arrive within {DEADLINE:?}"
        );
        let emission = run.next().await?;
        largest = largest.max(emission.changeset.size_bytes);
        emission_count += 1;
        let is_half = emission.changeset.part.ends_consistent();
        stage.deliver(&mut run, emission, &mut [&mut copy]).await?;
        let row_count = copy.replica.row_count(&harness.streams()[0]);
        ensure!(
            is_half || row_count == 0 || !harness.is_exact(),
            "{row_count} rows of a transaction are visible before its last part"
        );
    }
    ensure!(
        largest <= 4 * stage.changeset_bytes_max,
        "a changeset of {largest} bytes came where {} were asked for",
        stage.changeset_bytes_max
    );
    require!(emission_count > 1, "the source emits a transaction of 1 MB whole");
    stage.settle(&mut run, &mut [&mut copy]).await?;
    drop(run);
    // From before the transaction, once more: parts are cut anew and lead to the same state.
    let mut held = held;
    let mut run = stage.go_on(&[&held]).await?;
    stage.settle(&mut run, &mut [&mut held]).await
}
