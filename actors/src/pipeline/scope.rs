//! What a request is about: the streams and destinations that it names, or all.

use api::{Error, Retry};
use model::{DestinationId, StreamId};

use super::Pipeline;

impl Pipeline {
    /// Those that were named, each of which must be there; all where none was. `verb` is what was asked for.
    pub(super) fn resolve(
        &self,
        verb: &str,
        streams: &[StreamId],
        destinations: &[DestinationId],
    ) -> Result<(Vec<StreamId>, Vec<DestinationId>), Error> {
        let planned: Vec<StreamId> = self.spec.plan.streams.iter().map(|stream| stream.id.clone()).collect();
        let known: Vec<DestinationId> = self.lanes.keys().cloned().collect();
        let unknown = |what: &str, name: String, known: Vec<String>| {
            Err(Error::new(
                "E0708",
                Retry::Operator,
                format!("cannot {verb} `{}`: it has no {what} `{name}`", self.id()),
            )
            .hint(format!("it has {}", known.join(", "))))
        };
        if let Some(stream) = streams.iter().find(|stream| !planned.contains(stream)) {
            let planned = planned.iter().map(ToString::to_string).collect();
            return unknown("stream", stream.to_string(), planned);
        }
        if let Some(destination) = destinations.iter().find(|id| !known.contains(id)) {
            let known = known.iter().map(ToString::to_string).collect();
            return unknown("destination", destination.to_string(), known);
        }
        Ok((or_all(streams, planned), or_all(destinations, known)))
    }
}

fn or_all<T: Clone>(named: &[T], all: Vec<T>) -> Vec<T> {
    if named.is_empty() { all } else { named.to_vec() }
}
