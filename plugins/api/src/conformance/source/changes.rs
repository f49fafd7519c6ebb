use std::collections::BTreeSet;

use model::Partition;

use super::stage::Stage;
use super::{Change, SourceHarness};
use crate::conformance::{Promise, ensure, ensure_eq, require};

/// Random changes that a system with a primary key accepts. A seed repeats them.
pub(super) struct Random {
    state: u64,
    ids: [BTreeSet<i64>; 2],
    deletes: bool,
    next_id: i64,
}

impl Random {
    pub(super) fn new(seed: u64, harness: &dyn SourceHarness, ids: &[Vec<i64>; 2]) -> Self {
        Random {
            state: seed,
            ids: [ids[0].iter().copied().collect(), ids[1].iter().copied().collect()],
            deletes: harness.source().capabilities().deletes,
            next_id: 1_000_000,
        }
    }

    /// A number below `below` (SplitMix64).
    pub(super) fn below(&mut self, below: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below.max(1)
    }

    /// A key that is there; 0 if none is.
    pub(super) fn some_id(&mut self, stream: usize) -> i64 {
        let at = self.below(self.ids[stream].len() as u64) as usize;
        self.ids[stream].iter().nth(at).copied().unwrap_or_default()
    }

    fn free_id(&mut self, stream: usize) -> i64 {
        // Between the ids that are there as well as after them, so that pages of every place are met.
        let between = self.below(5_000) as i64;
        if self.ids[stream].contains(&between) {
            self.next_id += 1;
            return self.next_id;
        }
        between
    }

    fn change(&mut self) -> Change {
        let stream = self.below(2) as usize;
        let name = Some(format!("random {}", self.below(1_000_000)));
        let choice = if self.ids[stream].is_empty() {
            0
        } else {
            self.below(if self.deletes { 10 } else { 7 })
        };
        match choice {
            0..=3 => {
                let id = self.free_id(stream);
                self.ids[stream].insert(id);
                Change::Insert { stream, id, name }
            }
            4..=6 => Change::Update {
                stream,
                id: self.some_id(stream),
                name,
            },
            7 | 8 => {
                let id = self.some_id(stream);
                self.ids[stream].remove(&id);
                Change::Delete { stream, id }
            }
            _ => {
                let (id, to) = (self.some_id(stream), self.free_id(stream));
                self.ids[stream].remove(&id);
                self.ids[stream].insert(to);
                Change::Rekey { stream, id, to }
            }
        }
    }

    /// One to `changes_max` changes.
    pub(super) fn transaction(&mut self, changes_max: u64) -> Vec<Change> {
        let count = 1 + self.below(changes_max);
        (0..count).map(|_| self.change()).collect()
    }
}

fn insert(stream: usize, id: i64, name: &str) -> Change {
    Change::Insert {
        stream,
        id,
        name: Some(name.to_owned()),
    }
}

/// Inserts, updates, changed keys and deletes of both streams arrive, each alone and together in one transaction.
pub async fn every_kind_of_change_arrives(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    stage
        .apply(&[insert(0, 1, "a"), insert(0, 2, "b"), insert(1, 1, "c")])
        .await?;
    let (mut copy, mut run) = stage.bring_up("a").await?;
    let update = |stream, id, name: &str| Change::Update {
        stream,
        id,
        name: Some(name.to_owned()),
    };
    let rename = |stream, id| Change::Update { stream, id, name: None };
    let mut steps = vec![
        vec![insert(0, 3, "d")],
        vec![update(0, 1, "e")],
        vec![rename(0, 2)],
        vec![insert(1, 9, "f"), update(1, 9, "g"), update(0, 3, "h")],
    ];
    if stage.source.capabilities().deletes {
        steps.extend([
            vec![Change::Delete { stream: 0, id: 1 }],
            vec![Change::Rekey {
                stream: 0,
                id: 2,
                to: -5,
            }],
            vec![
                Change::Delete { stream: 1, id: 1 },
                insert(1, 1, "again"),
                Change::Rekey {
                    stream: 1,
                    id: 1,
                    to: 4,
                },
                update(1, 4, "moved"),
                insert(1, 1, "third"),
                Change::Delete { stream: 1, id: 9 },
            ],
        ]);
    }
    for step in &steps {
        stage.apply(step).await?;
        stage.settle(&mut run, &mut [&mut copy]).await?;
    }
    Ok(())
}

/// Text of any characters, the empty one, a long one and null arrive as they are, as existing rows and as changes.
pub async fn values_of_any_text_arrive(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    let long = "ü".repeat(10_000);
    let texts = [
        "",
        " ",
        "NULL",
        "'; drop table x; --",
        "\"quoted\"",
        "line\nbreak\r\n\ttab",
        "ü 漢 \u{1F41F}",
        &long,
    ];
    let inserts = |from: i64| -> Vec<Change> {
        let mut inserts: Vec<Change> = (from..).zip(texts).map(|(id, text)| insert(0, id, text)).collect();
        inserts.push(Change::Insert {
            stream: 0,
            id: from + 100,
            name: None,
        });
        inserts
    };
    stage.apply(&inserts(i64::MIN)).await?;
    let (mut copy, mut run) = stage.bring_up("a").await?;
    stage.apply(&inserts(i64::MAX - 200)).await?;
    stage.settle(&mut run, &mut [&mut copy]).await
}

/// Some hundred random transactions, met at random moments.
pub async fn random_changes_arrive(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    stage.insert(0, 1..=50).await?;
    let (mut copy, mut run) = stage.bring_up("a").await?;
    let mut changes = Random::new(13, harness, &[(1..=50).collect(), Vec::new()]);
    for round in 0..6 {
        for _ in 0..40 {
            stage.apply(&changes.transaction(6)).await?;
            if changes.below(4) == 0 {
                stage.step(&mut run, &mut [&mut copy]).await?;
            }
        }
        copy.commit_every = 1 + round;
        stage.settle(&mut run, &mut [&mut copy]).await?;
    }
    Ok(())
}

/// A transaction over two streams is in both or in neither at every consistent point.
pub async fn consistent_points_show_whole_transactions(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    let (mut copy, mut run) = stage.bring_up("a").await?;
    for id in 1..=40 {
        stage.apply(&[insert(0, id, "left"), insert(1, id, "right")]).await?;
        if id % 3 == 0 {
            stage.step(&mut run, &mut [&mut copy]).await?;
            let [left, right] = harness.streams().map(|stream| copy.replica.row_count(&stream));
            ensure_eq!(left, right, "the rows of two streams that are written together");
        }
    }
    stage.settle(&mut run, &mut [&mut copy]).await
}

/// A column that the plan excludes is in no batch.
pub async fn excluded_columns_are_not_read(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    stage.exclude = vec!["name".to_owned()];
    stage.insert(0, 1..=5).await?;
    let mut copy = super::stage::Copy::new("a").await?;
    let mut run = stage.go_on(&[&copy]).await?;
    run.read(&harness.streams(), None, true).await?;
    let mut row_count = 0;
    let mut is_changed = false;
    while row_count < 6 {
        let emission = run.next().await?;
        for batch in emission.changeset.batches() {
            ensure!(
                batch.schema.arrow().field_with_name("name").is_err(),
                "an excluded column is in a batch of `{}`",
                batch.schema.stream()
            );
            require!(batch.schema.has_key(), "the stream has no key");
            row_count += batch.len();
            is_changed |= matches!(batch.partition, Partition::Log(_));
        }
        stage.deliver(&mut run, emission, &mut [&mut copy]).await?;
        if row_count == 5 && !is_changed {
            is_changed = true;
            stage.insert(0, [6]).await?;
        }
    }
    Ok(())
}
