//! Comparing source and destinations, on a running pipeline.

use std::sync::Arc;

use api::{Error, Retry};
use model::{DestinationId, Marker, StreamId};
use ractor::ActorRef;
use tokio::sync::oneshot;

use super::{Pipeline, PipelineMsg, flow::Flow};
use crate::joined::Joined;
use crate::verify::{Comparison, Part, SharedProgress, Verified, Verify, Work};

impl Pipeline {
    pub(super) fn on_verify(
        &mut self,
        myself: &ActorRef<PipelineMsg>,
        request: Verify,
        progress: SharedProgress,
        mut answer: oneshot::Sender<Result<Verified, Error>>,
    ) {
        let work = match self.verification(request, progress) {
            Ok(work) => work,
            Err(error) => {
                // Whoever asked may have gone.
                let _ = answer.send(Err(error));
                return;
            }
        };
        let work = async move {
            let verified = tokio::select! {
                verified = work.run() => verified,
                () = answer.closed() => return,
            };
            // Whoever asked may have gone.
            let _ = answer.send(verified);
        };
        self.tasks.retain(|task| !task.is_finished());
        self.tasks.push(Joined::spawn(myself, work, PipelineMsg::Done));
    }

    /// What a request needs, if everything that it names can take part.
    fn verification(&mut self, request: Verify, progress: SharedProgress) -> Result<Work, Error> {
        let (streams, destinations) = self.resolve("verify", &request.streams, &request.destinations)?;
        let control = match &self.flow {
            Flow::Flowing(flowing) => Arc::clone(&flowing.control),
            _ => return Err(self.not_now("its source is not open")),
        };
        let (able, unable): (Vec<_>, Vec<_>) = destinations
            .into_iter()
            .partition(|id| self.lanes[id].args.spec.capabilities.reads_back);
        if let Some(down) = able.iter().find(|id| !self.follows(id)) {
            return Err(self.not_now(&format!("`{down}` does not follow the source now")));
        }
        if able.is_empty() || (!unable.is_empty() && !request.destinations.is_empty()) {
            return Err(self.cannot_read_back(&unable));
        }
        self.marker_count += 1;
        let marker = Marker(self.marker_count);
        let parts = able.iter().map(|id| Part {
            destination: id.clone(),
            arrives: self.markers.wait_for(marker, id),
            transformers: self.lanes[id].args.spec.transformers.clone(),
        });
        Ok(Work {
            pipeline: self.id().clone(),
            control,
            marker,
            transformers: self.spec.transformers.clone(),
            parts: parts.collect(),
            left_out: self.left_out(&streams, &unable),
            memory: self.memory.clone(),
            progress,
            request,
            streams,
        })
    }

    /// Whether a lane comes by what the source emits.
    fn follows(&self, id: &DestinationId) -> bool {
        let stand = self.lanes.get(id).and_then(|lane| lane.stand.as_ref());
        stand.is_some_and(|stand| stand.is_up && stand.is_attached)
    }

    fn left_out(&self, streams: &[StreamId], unable: &[DestinationId]) -> Vec<Comparison> {
        let reason = |id: &DestinationId| {
            let connector = &self.lanes[id].args.spec.connector;
            format!("connector `{connector}` does not read back what it wrote")
        };
        let of_stream = |stream| unable.iter().map(move |id| (stream, id));
        let all = streams.iter().flat_map(of_stream);
        all.map(|(stream, id)| Comparison::new(stream, id).not_compared(reason(id)))
            .collect()
    }

    fn not_now(&self, why: &str) -> Error {
        let pipeline = self.id();
        Error::new("E0713", Retry::After, format!("cannot verify `{pipeline}`: {why}"))
            .hint(format!("`highwater status {pipeline}` shows why"))
    }

    fn cannot_read_back(&self, unable: &[DestinationId]) -> Error {
        let named: Vec<String> = unable.iter().map(|id| format!("`{id}`")).collect();
        let message = format!(
            "cannot verify `{}`: {} cannot be read back",
            self.id(),
            named.join(", ")
        );
        let able = self
            .lanes
            .iter()
            .filter(|(_, lane)| lane.args.spec.capabilities.reads_back);
        let able: Vec<String> = able.map(|(id, _)| format!("`--destination {id}`")).collect();
        let error = Error::new("E0714", Retry::Operator, message);
        match able.is_empty() {
            true => error,
            false => error.hint(format!("use {}", able.join(" or "))),
        }
    }
}
