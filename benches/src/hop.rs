//! What one hop between two actors costs: with credit, with ractor's plain cast, and through a bounded tokio channel. All carry
//! the same `Arc`.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use actors::credit::{Credit, Edge};
use model::{ChangeSet, Delta};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{mpsc, oneshot};

use crate::figure;

const MESSAGES: usize = 400_000;
/// A mailbox as deep as the runtime's would be if batches were this small.
const DEPTH: u32 = 1024;

pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    for hops in [1, 3] {
        let [cast, credit, channel] = figure::medians([
            &mut || on_runtime(actors_chain(hops, false)),
            &mut || on_runtime(actors_chain(hops, true)),
            &mut || on_runtime(channel_chain(hops)),
        ])?;
        figure::print(
            &format!("{hops} hop(s) with credit"),
            credit,
            "ns",
            "ractor cast",
            cast,
            "<= 1.25",
        );
        figure::print(
            &format!("{hops} hop(s) with credit"),
            credit,
            "ns",
            "bounded tokio channel",
            channel,
            "beside it",
        );
    }
    Ok(())
}

fn on_runtime(work: impl Future<Output = Result<f64, Box<dyn Error>>>) -> Result<f64, Box<dyn Error>> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(work)
}

struct Parcel {
    changeset: Arc<ChangeSet>,
    _credit: Option<Credit>,
}

/// Passes parcels on; the last one counts.
struct Hop;

struct HopState {
    next: Option<(ActorRef<Parcel>, Option<Arc<Edge>>)>,
    left: usize,
    done: Option<oneshot::Sender<()>>,
}

impl Actor for Hop {
    type Msg = Parcel;
    type State = HopState;
    type Arguments = HopState;

    async fn pre_start(&self, _: ActorRef<Parcel>, args: HopState) -> Result<HopState, ActorProcessingErr> {
        Ok(args)
    }

    async fn handle(
        &self,
        _: ActorRef<Parcel>,
        parcel: Parcel,
        state: &mut HopState,
    ) -> Result<(), ActorProcessingErr> {
        state.left -= 1;
        match &state.next {
            Some((next, edge)) => send(next, edge.as_deref(), parcel.changeset).await?,
            None if state.left == 0 => {
                if let Some(done) = state.done.take() {
                    done.send(()).map_err(|()| "nobody waits")?;
                }
            }
            None => {}
        }
        Ok(())
    }
}

async fn send(to: &ActorRef<Parcel>, edge: Option<&Edge>, changeset: Arc<ChangeSet>) -> Result<(), ActorProcessingErr> {
    let credit = match edge {
        Some(edge) => Some(edge.take(changeset.size_bytes).await),
        None => None,
    };
    to.cast(Parcel {
        changeset,
        _credit: credit,
    })?;
    Ok(())
}

/// Nanoseconds for one message through `hops` actors, sent as fast as it goes.
async fn actors_chain(hops: usize, with_credit: bool) -> Result<f64, Box<dyn Error>> {
    let (done, is_done) = oneshot::channel();
    let mut done = Some(done);
    let mut next = None;
    for _ in 0..hops {
        let state = HopState {
            next: next.take(),
            left: MESSAGES,
            done: done.take(),
        };
        let (actor, _) = Actor::spawn(None, Hop, state).await?;
        let edge = with_credit.then(|| Arc::new(Edge::new(DEPTH, 64 << 20)));
        next = Some((actor, edge));
    }
    let (first, edge) = next.ok_or("at least one hop")?;
    let changeset = Arc::new(ChangeSet::rows(Delta::none(), Vec::new()));
    let started = Instant::now();
    for _ in 0..MESSAGES {
        send(&first, edge.as_deref(), Arc::clone(&changeset))
            .await
            .map_err(|error| error.to_string())?;
    }
    is_done.await?;
    Ok(started.elapsed().as_nanos() as f64 / MESSAGES as f64)
}

async fn channel_chain(hops: usize) -> Result<f64, Box<dyn Error>> {
    let (first, mut receiver) = mpsc::channel::<Arc<ChangeSet>>(DEPTH as usize);
    for _ in 1..hops {
        let (sender, next) = mpsc::channel(DEPTH as usize);
        let mut from = std::mem::replace(&mut receiver, next);
        tokio::spawn(async move {
            while let Some(parcel) = from.recv().await {
                if sender.send(parcel).await.is_err() {
                    return;
                }
            }
        });
    }
    let count = tokio::spawn(async move {
        let mut count = 0;
        while receiver.recv().await.is_some() {
            count += 1;
        }
        count
    });
    let changeset = Arc::new(ChangeSet::rows(Delta::none(), Vec::new()));
    let started = Instant::now();
    for _ in 0..MESSAGES {
        first.send(Arc::clone(&changeset)).await?;
    }
    drop(first);
    assert_eq!(count.await?, MESSAGES);
    Ok(started.elapsed().as_nanos() as f64 / MESSAGES as f64)
}
