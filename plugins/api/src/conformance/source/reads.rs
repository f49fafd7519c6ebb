use model::{Body, Control, Partition};

use super::stage::{Copy, Stage, control_of};
use super::{Change, SourceHarness};
use crate::Verdict;
use crate::conformance::{Promise, ensure, ensure_eq};

/// Discovery lists the planned streams in types of the vocabulary, twice the same, and changes nothing.
pub async fn discover_lists_the_streams_and_changes_nothing(harness: &dyn SourceHarness) -> Promise {
    let stage = Stage::new(harness);
    stage.insert(0, [1]).await?;
    let found = stage.source.discover().await?;
    for stream in harness.streams() {
        let Some(schema) = found.iter().find(|schema| *schema.stream() == stream) else {
            return Err(crate::conformance::Unkept::broken(format!(
                "`{stream}` was not discovered"
            )));
        };
        for field in schema.arrow().fields() {
            ensure!(
                model::carries(field.data_type()),
                "`{stream}` has a column of type {}",
                field.data_type()
            );
        }
        ensure!(
            schema.arrow().field_with_name("name").is_ok(),
            "`{stream}` has no column `name`"
        );
    }
    let ids =
        |found: Vec<std::sync::Arc<model::StreamSchema>>| found.iter().map(|schema| schema.id()).collect::<Vec<_>>();
    ensure_eq!(ids(stage.source.discover().await?), ids(found), "a second discovery");
    ensure_eq!(harness.rows(0).await?.len(), 1, "the rows after discovery");
    Ok(())
}

/// `check` finds nothing wrong with the harness's system, before a first open and while it is open.
pub async fn check_finds_nothing_wrong_and_changes_nothing(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    stage.insert(0, [1]).await?;
    let plan = stage.plan();
    let errors = |found: Vec<crate::Error>| {
        found
            .into_iter()
            .filter(|e| e.code().starts_with('E'))
            .collect::<Vec<_>>()
    };
    let found = errors(stage.source.check(&plan).await?);
    ensure!(found.is_empty(), "check finds {found:?}");
    let (_copy, _run) = stage.bring_up("a").await?;
    let found = errors(stage.source.check(&plan).await?);
    ensure!(found.is_empty(), "check finds {found:?} while the source is open");
    Ok(())
}

/// A history has one identity.
pub async fn identity_is_the_same_at_every_open(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    let (copy, run) = stage.bring_up("a").await?;
    let identity = run.identity.clone();
    ensure!(!identity.is_empty(), "the identity is empty");
    drop(run);
    stage.insert(0, [1]).await?;
    let run = stage.open(&[&copy]).await?;
    ensure_eq!(run.identity, identity, "the identity at the second open");
    Ok(())
}

/// A read brings a new destination to the state of the source.
pub async fn first_read_brings_a_destination_up(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    stage.insert(0, 1..=500).await?;
    stage.insert(1, [7]).await?;
    let (copy, _run) = stage.bring_up("a").await?;
    ensure_eq!(
        copy.replica.row_count(&harness.streams()[0]),
        500,
        "the rows of the first stream"
    );
    Ok(())
}

/// A stream without rows becomes live too, and its table exists.
pub async fn empty_streams_become_live(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    let (copy, _run) = stage.bring_up("a").await?;
    for stream in harness.streams() {
        ensure!(copy.replica.rows(&stream).is_some(), "`{stream}` has no table");
    }
    Ok(())
}

/// A destination that holds nothing gets nothing by an open alone; what is emitted moves positions only.
pub async fn destination_without_a_read_gets_no_rows(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    stage.insert(0, [1]).await?;
    let mut copy = Copy::new("a").await?;
    let mut run = stage.go_on(&[&copy]).await?;
    stage.insert(0, [2, 3]).await?;
    for _ in 0..10 {
        stage.step(&mut run, &mut [&mut copy]).await?;
    }
    for stream in harness.streams() {
        ensure_eq!(copy.replica.rows(&stream), None, "the table of `{stream}`");
    }
    run.read(&harness.streams(), None, true).await?;
    stage.settle(&mut run, &mut [&mut copy]).await
}

/// The number that `read_existing` returns is the one of the read's begins, pages and ends, which come once for each stream
/// and in that order; a later read has a larger one, also after a reopen.
pub async fn read_is_bracketed_and_numbered(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    stage.insert(0, 1..=300).await?;
    let mut copy = Copy::new("a").await?;
    let mut last = 0;
    for attempt in 0..3 {
        let mut run = stage.go_on(&[&copy]).await?;
        let number = run.read(&harness.streams(), None, attempt == 0).await?;
        ensure!(number > last, "read {number} came after read {last}");
        last = number;
        let (mut begun, mut ended, mut row_count) = (Vec::new(), Vec::new(), 0);
        while ended.len() < 2 {
            let emission = run.next().await?;
            match control_of(&emission.changeset) {
                Some(Control::BeginRead {
                    schema,
                    run,
                    empty_first,
                    ..
                }) => {
                    ensure_eq!(*run, number, "the number in a begin");
                    ensure_eq!(
                        *empty_first,
                        attempt == 0,
                        "whether the destination empties its table first"
                    );
                    begun.push(schema.stream().clone());
                }
                Some(Control::EndRead { stream, run }) => {
                    ensure_eq!(*run, number, "the number in an end");
                    ensure!(begun.contains(stream), "`{stream}` ended before it began");
                    ended.push(stream.clone());
                }
                _ => {}
            }
            let is_page =
                |batch: &&model::Batch| matches!(&batch.partition, Partition::Range { run, .. } if *run == number);
            row_count += emission
                .changeset
                .batches()
                .iter()
                .filter(is_page)
                .map(model::Batch::len)
                .sum::<usize>();
            stage.deliver(&mut run, emission, &mut [&mut copy]).await?;
        }
        begun.sort();
        ended.sort();
        let mut streams = harness.streams().to_vec();
        streams.sort();
        ensure_eq!(begun, streams, "the begins");
        ensure_eq!(ended, streams, "the ends");
        ensure_eq!(row_count, 300, "the existing rows");
        stage.settle(&mut run, &mut [&mut copy]).await?;
        ensure!(run.control.reads().await.is_empty(), "reads go on after their ends");
    }
    Ok(())
}

/// After a read that empties first a destination holds what the source holds, whatever it held before.
pub async fn read_that_empties_first_leaves_nothing_of_before(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    stage.insert(0, 1..=50).await?;
    let (mut copy, mut run) = stage.bring_up("a").await?;
    // A row that the source never had: what a resync is for.
    let stray = model::ChangeSet::rows(
        model::Delta::none(),
        vec![
            crate::conformance::sample::changes(&stray_schema(harness, &stage).await?)
                .insert(serde_json::json!({"id": 1_000_000, "name": "stray"}))
                .batch(),
        ],
    );
    copy.session.apply(stray).await?;
    ensure!(
        stage.compare(&copy).await.is_err(),
        "the suite did not see the stray row"
    );
    run.read(&harness.streams()[..1], Some(vec![copy.name.clone()]), true)
        .await?;
    let mut is_begun = false;
    while !is_begun {
        let emission = run.next().await?;
        is_begun = matches!(&emission.changeset.body, Body::Control(Control::BeginRead { .. }));
        stage.deliver(&mut run, emission, &mut [&mut copy]).await?;
    }
    stage.settle(&mut run, &mut [&mut copy]).await
}

async fn stray_schema(
    harness: &dyn SourceHarness,
    stage: &Stage<'_>,
) -> Result<std::sync::Arc<model::StreamSchema>, crate::conformance::Unkept> {
    let found = stage.source.discover().await?;
    let schema = found
        .into_iter()
        .find(|schema| *schema.stream() == harness.streams()[0]);
    schema.ok_or_else(|| crate::conformance::Unkept::broken("the first stream was not discovered"))
}

/// Changes that the source commits while a read goes on arrive once: before, in and after the pages.
pub async fn changes_during_a_read_are_neither_lost_nor_doubled(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    stage.insert(0, (1..=400).map(|id| id * 10)).await?;
    stage.insert(1, 1..=50).await?;
    let mut copy = Copy::new("a").await?;
    let mut run = stage.go_on(&[&copy]).await?;
    run.read(&harness.streams(), None, true).await?;
    let mut changes = super::changes::Random::new(
        11,
        harness,
        &[(1..=400).map(|id| id * 10).collect(), (1..=50).collect()],
    );
    for _ in 0..60 {
        stage.apply(&changes.transaction(5)).await?;
        stage.step(&mut run, &mut [&mut copy]).await?;
    }
    stage.settle(&mut run, &mut [&mut copy]).await
}

/// A new destination is read for while an old one goes on: the old one sees nothing of the read, and both end equal.
pub async fn new_destination_beside_an_old_one(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    stage.insert(0, 1..=300).await?;
    let (mut old, run) = stage.bring_up("old").await?;
    drop(run);
    stage.insert(1, 1..=20).await?;
    let mut new = Copy::new("new").await?;
    let mut run = stage.go_on(&[&old, &new]).await?;
    let number = run.read(&harness.streams(), Some(vec![new.name.clone()]), true).await?;
    let mut changes = super::changes::Random::new(12, harness, &[(1..=300).collect(), (1..=20).collect()]);
    for _ in 0..40 {
        stage.apply(&changes.transaction(4)).await?;
        stage.step(&mut run, &mut [&mut old, &mut new]).await?;
    }
    stage.settle(&mut run, &mut [&mut old, &mut new]).await?;
    for stream in harness.streams() {
        let run_of = |copy: &Copy| {
            copy.session
                .checkpoint()
                .streams
                .get(&stream)
                .map(model::StreamState::run)
        };
        ensure!(
            run_of(&old) < Some(number),
            "`old` took part in a read that was not for it"
        );
        ensure_eq!(run_of(&new), Some(number), "the run of `new`");
    }
    ensure!(
        run.verdicts
            .values()
            .all(|verdict| matches!(verdict, Verdict::Continue)),
        "verdicts {:?}",
        run.verdicts
    );
    stage
        .apply(&[Change::Update {
            stream: 1,
            id: changes.some_id(1),
            name: None,
        }])
        .await?;
    stage.settle(&mut run, &mut [&mut old, &mut new]).await
}
