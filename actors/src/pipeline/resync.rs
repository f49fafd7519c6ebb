//! Reading streams again, on a running pipeline.

use std::sync::Arc;

use api::{Error, ReadExisting};
use model::{DestinationId, StreamId};
use ractor::ActorRef;
use serde::Serialize;
use state::PendingRead;
use tokio::sync::oneshot;

use super::{Pipeline, PipelineMsg, flow::Flow};
use crate::checkpointer::CheckpointMsg;
use crate::joined::Joined;

/// A request to read streams again for some destinations, while everything else streams on.
#[derive(Debug, Clone)]
pub struct Resync {
    /// Streams; empty for all.
    pub streams: Vec<StreamId>,
    /// Destinations; empty for all.
    pub destinations: Vec<DestinationId>,
    /// Whether they are emptied first.
    pub empty_first: bool,
}

/// What was started.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Resynced {
    /// The number of the read; none yet if the source is not open, or must be opened again for it.
    pub run: Option<u32>,
    /// Streams.
    pub streams: Vec<String>,
    /// Destinations.
    pub destinations: Vec<String>,
}

impl Pipeline {
    pub(super) fn on_resync(
        &mut self,
        myself: &ActorRef<PipelineMsg>,
        request: Resync,
        answer: oneshot::Sender<Result<Resynced, Error>>,
    ) {
        let (streams, destinations) = match self.resolve("resync", &request.streams, &request.destinations) {
            Ok(resolved) => resolved,
            Err(error) => {
                // Whoever asked may have gone.
                let _ = answer.send(Err(error));
                return;
            }
        };
        let mut stored = Vec::new();
        let mut must_reopen = false;
        for id in &destinations {
            let Some(lane) = self.lanes.get_mut(id) else { continue };
            let all = lane.needs_resync;
            must_reopen |= all;
            let streams = if all {
                lane.args.streams.clone()
            } else {
                streams.clone()
            };
            let held = lane.held();
            let after_run = streams
                .iter()
                .filter_map(|s| held?.streams.get(s))
                .map(|state| state.run())
                .max()
                .unwrap_or(0);
            let read = PendingRead {
                streams,
                empty_first: request.empty_first,
                after_run,
            };
            lane.pending.push(read.clone());
            let (done, is_done) = oneshot::channel();
            // A checkpointer that is gone takes the pipeline with it.
            let _ = self.checkpointer.cast(CheckpointMsg::Pending {
                destination: id.clone(),
                read,
                done,
            });
            stored.push(is_done);
        }
        let control = match &self.flow {
            Flow::Flowing(flowing) if !must_reopen => Some(Arc::clone(&flowing.control)),
            _ => None,
        };
        if must_reopen {
            self.start_flow_after(myself, std::time::Duration::ZERO);
        }
        let whom = (destinations.len() < self.lanes.len()).then(|| destinations.clone());
        let read = ReadExisting {
            streams: streams.clone(),
            destinations: whom,
            empty_first: request.empty_first,
        };
        let names = Resynced {
            run: None,
            streams: streams.iter().map(ToString::to_string).collect(),
            destinations: destinations.iter().map(ToString::to_string).collect(),
        };
        let work = async move {
            for is_stored in stored {
                // If it was not stored, the pipeline is about to end, and says why.
                let _ = is_stored.await;
            }
            let result = match control {
                Some(control) => control.read_existing(read).await.map(|run| Resynced {
                    run: Some(run),
                    ..names
                }),
                None => Ok(names),
            };
            // Whoever asked may have gone.
            let _ = answer.send(result);
        };
        self.tasks.retain(|task| !task.is_finished());
        self.tasks.push(Joined::spawn(myself, work, PipelineMsg::Done));
    }
}
