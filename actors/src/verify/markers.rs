//! Who waits for which destination to come by which marker.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::{Error, StoredView};
use model::{Checkpoint, DestinationId, Marker};
use tokio::sync::oneshot;

/// A lane that has come by a marker.
pub(crate) struct Arrived {
    /// What is durable there.
    pub(crate) checkpoint: Checkpoint,
    /// Its rows as of that.
    pub(crate) stored: Result<Box<dyn StoredView>, Error>,
}

/// Shared by a pipeline and its lanes. Whoever waits sees the end of its channel when a marker is given up.
#[derive(Clone, Default)]
pub(crate) struct Markers(Arc<Mutex<Waiting>>);

type Waiting = BTreeMap<(Marker, DestinationId), oneshot::Sender<Arrived>>;

impl Markers {
    /// Nothing is left half-done by a panic inside these short sections.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that somebody waits for the destination.
    pub(crate) fn wait_for(&self, marker: Marker, destination: &DestinationId) -> oneshot::Receiver<Arrived> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.lock();
        waiting.retain(|_, sender| !sender.is_closed());
        waiting.insert((marker, destination.clone()), sender);
        receiver
    }

    /// Whom to tell that the destination has come by.
    pub(crate) fn take(&self, marker: Marker, destination: &DestinationId) -> Option<oneshot::Sender<Arrived>> {
        self.lock().remove(&(marker, destination.clone()))
    }

    /// The destination will not come by the markers that it has not passed.
    pub(crate) fn give_up(&self, destination: &DestinationId) {
        self.lock().retain(|(_, of), _| of != destination);
    }

    /// No destination will.
    pub(crate) fn give_up_all(&self) {
        self.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_marker_that_is_given_up_is_told() {
        let markers = Markers::default();
        let (a, b) = (DestinationId::new("a"), DestinationId::new("b"));
        let mut waits_for_a = markers.wait_for(Marker(1), &a);
        let mut waits_for_b = markers.wait_for(Marker(1), &b);
        markers.give_up(&a);
        assert!(matches!(
            waits_for_a.try_recv(),
            Err(oneshot::error::TryRecvError::Closed)
        ));
        assert!(matches!(
            waits_for_b.try_recv(),
            Err(oneshot::error::TryRecvError::Empty)
        ));
        assert!(markers.take(Marker(1), &a).is_none());
        assert!(markers.take(Marker(2), &b).is_none());
        assert!(markers.take(Marker(1), &b).is_some());
        assert!(markers.take(Marker(1), &b).is_none(), "a lane comes by once");
    }
}
