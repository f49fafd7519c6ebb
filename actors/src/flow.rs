//! What travels between actors, and the way from one to the next.

use std::sync::Arc;

use model::ChangeSet;
use ractor::DerivedActorRef;
use spool::Permit;

use crate::credit::{Credit, Edge};

/// One message of the data flow.
pub enum Flow {
    /// A changeset.
    ChangeSet(Carried),
    /// Nothing will follow: the source has ended, or was closed.
    End,
}

/// A changeset on its way.
pub struct Carried {
    /// The changeset.
    pub changeset: Arc<ChangeSet>,
    /// The memory that its source reserved for it.
    pub permit: Permit,
    /// The place that it takes in the receiver's mailbox.
    pub credit: Credit,
}

/// The way into the next actor's mailbox.
#[derive(Clone)]
pub struct Downstream {
    edge: Arc<Edge>,
    actor: DerivedActorRef<Flow>,
}

/// The receiver is gone; its supervisor knows, and will start the flow again.
#[derive(Debug)]
pub struct Gone;

impl Downstream {
    /// A way into `actor`'s mailbox, bounded by `edge`.
    pub fn new(edge: Arc<Edge>, actor: DerivedActorRef<Flow>) -> Self {
        Downstream { edge, actor }
    }

    /// Sends a changeset, waiting for credit.
    pub async fn send(&self, changeset: Arc<ChangeSet>, permit: Permit) -> Result<(), Gone> {
        let credit = self.edge.take(changeset.size_bytes).await;
        self.actor
            .send_message(Flow::ChangeSet(Carried {
                changeset,
                permit,
                credit,
            }))
            .map_err(|_| Gone)
    }

    /// Says that nothing will follow. Needs no credit, and overtakes nothing.
    pub fn end(&self) -> Result<(), Gone> {
        self.actor.send_message(Flow::End).map_err(|_| Gone)
    }
}
