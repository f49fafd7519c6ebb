use std::sync::Arc;

use model::{Mark, Marker, Partition};

use super::SourceHarness;
use super::changes::Random;
use super::stage::{Copy, DEADLINE, Run, Stage, only_known_columns};
use crate::conformance::text::difference;
use crate::conformance::{Promise, Row, Unkept, ensure, ensure_eq, rows_of};
use crate::{Result, SourceView};

/// A view shows what a destination holds that has taken everything before the view's marker, and nothing else, whatever is
/// written meanwhile; read again it shows the same.
pub async fn view_shows_exactly_what_came_before_its_marker(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    stage.insert(0, 1..=50).await?;
    let (mut copy, mut run) = stage.bring_up("a").await?;
    let mut changes = Random::new(47, harness, &[(1..=50).collect(), Vec::new()]);
    for number in 1..=8 {
        for _ in 0..number % 3 {
            stage.apply(&changes.transaction(3)).await?;
        }
        let control = Arc::clone(&run.control);
        let streams = harness.streams();
        let asked = tokio::spawn(async move { control.view(&streams, Marker(number)).await });
        let view = until_marker(&mut stage, &mut run, &mut copy, &mut changes, Marker(number), asked).await?;
        copy.commit().await?;
        compare(&stage, &copy, view).await?;
    }
    stage.settle(&mut run, &mut [&mut copy]).await
}

/// Takes changesets up to the marker, while changes go on; the view that it belongs to.
async fn until_marker(
    stage: &mut Stage<'_>,
    run: &mut Run,
    copy: &mut Copy,
    changes: &mut Random,
    marker: Marker,
    asked: tokio::task::JoinHandle<Result<Box<dyn SourceView>>>,
) -> Result<Box<dyn SourceView>, Unkept> {
    let mut asked = Some(asked);
    let mut view = None;
    let mut is_passed = false;
    let since = std::time::Instant::now();
    let mut step = 0;
    loop {
        if let Some(answered) = asked.take_if(|asked| asked.is_finished()) {
            match answered.await.map_err(|error| Unkept::broken(error.to_string()))? {
                Ok(open) => view = Some(open),
                Err(error) if error.code() == "E0603" => {
                    return Err(Unkept::skipped("it cannot be viewed as of one position"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        match view.take() {
            Some(view) if is_passed => return Ok(view),
            waiting => view = waiting,
        }
        ensure!(since.elapsed() < DEADLINE, "no view and marker within {DEADLINE:?}");
        if is_passed {
            tokio::task::yield_now().await;
            continue;
        }
        if step < 4 {
            stage.apply(&changes.transaction(2)).await?;
            step += 1;
        }
        let Ok(next) = tokio::time::timeout(std::time::Duration::from_millis(20), run.reader.next()).await else {
            continue;
        };
        let emission = next?.ok_or_else(|| Unkept::broken("the reader ended"))?;
        is_passed = emission.changeset.marker == Some(marker);
        ensure!(
            !is_passed || emission.changeset.is_progress(),
            "a marker came with {:?}",
            emission.changeset
        );
        stage.deliver(run, emission, &mut [copy]).await?;
    }
}

async fn compare(stage: &Stage<'_>, copy: &Copy, mut view: Box<dyn SourceView>) -> Promise {
    let (log, order) = view.at();
    ensure_eq!(
        copy.session.checkpoint().mark(&Partition::Log(log)),
        Mark::At(order),
        "where a destination stands that has taken the marker"
    );
    for _ in 0..2 {
        for stream in stage.harness.streams() {
            ensure!(
                view.begin(&stream).await?.is_some(),
                "the view does not have `{stream}`"
            );
            let mut shown: Vec<Row> = Vec::new();
            while let Some(rows) = view.next().await? {
                shown.extend(rows_of(&rows).into_iter().map(only_known_columns));
            }
            let held = copy.replica.rows(&stream).unwrap_or_default();
            let held: Vec<Row> = held.into_iter().map(only_known_columns).collect();
            if let Some(difference) = difference(&shown, &held) {
                return Err(Unkept::broken(format!(
                    "the view shows other rows of `{stream}` than a destination holds that took its marker\n{difference}"
                )));
            }
        }
    }
    Ok(())
}
