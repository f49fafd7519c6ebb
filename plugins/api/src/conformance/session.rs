use std::sync::Arc;

use model::{ChangeSet, Checkpoint, Delta};

use crate::{CommitPoint, Destination, Error, Holds, Lane, Result, Retry, StoredView, Written};

/// Drives one destination as the runtime does: keeps its checkpoint, gathers deltas, commits.
pub struct Session {
    destination: Box<dyn Destination>,
    lane: Lane,
    holds: Holds,
    checkpoint: Checkpoint,
    pending: Delta,
}

impl Session {
    /// Opens the destination; what it holds becomes the checkpoint.
    pub async fn open(mut destination: Box<dyn Destination>, lane: &Lane) -> Result<Self> {
        let holds = destination.open(lane).await?;
        Ok(Session {
            checkpoint: holds.checkpoint.clone().unwrap_or_default(),
            destination,
            lane: lane.clone(),
            holds,
            pending: Delta::none(),
        })
    }

    /// What the destination said that it holds.
    pub fn holds(&self) -> &Holds {
        &self.holds
    }

    /// Everything committed.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Everything written, committed or not.
    pub fn sent(&self) -> Checkpoint {
        let mut sent = self.checkpoint.clone();
        // Refused at `write` or `take` already.
        let _ = sent.apply(&self.pending);
        sent
    }

    /// Writes a changeset as it stands.
    pub async fn write(&mut self, changeset: impl Into<Arc<ChangeSet>>) -> Result<Written> {
        let changeset = changeset.into();
        self.pending.then(&changeset.delta);
        let written = self.destination.write(changeset).await?;
        let declared = self.destination.capabilities().buffer_bytes;
        if written.buffered_bytes > declared {
            let message = format!(
                "cannot trust the buffer of a destination: it declared {declared} bytes and holds {}",
                written.buffered_bytes
            );
            return Err(Error::new("E0590", Retry::Never, message));
        }
        Ok(written)
    }

    /// Writes what this destination still lacks of a changeset.
    pub async fn take(&mut self, changeset: &Arc<ChangeSet>) -> Result<()> {
        let admission = self.sent().admit(&self.lane.destination, changeset).map_err(|error| {
            Error::new("E0591", Retry::Never, format!("cannot admit {changeset:?}")).caused_by(error)
        })?;
        if let Some(changeset) = admission.changeset {
            self.destination.write(changeset).await?;
        }
        self.pending.then(&admission.delta);
        Ok(())
    }

    /// Commits what was written since the last commit; with nothing written too.
    pub async fn commit(&mut self) -> Result<()> {
        let mut checkpoint = self.checkpoint.clone();
        checkpoint.apply(&self.pending).map_err(|error| {
            Error::new("E0591", Retry::Never, format!("cannot move {:?}", self.checkpoint)).caused_by(error)
        })?;
        let at = CommitPoint {
            delta: &self.pending,
            checkpoint: &checkpoint,
        };
        self.destination.commit(at).await?;
        self.checkpoint = checkpoint;
        self.pending = Delta::none();
        Ok(())
    }

    /// Commits exactly this checkpoint.
    pub async fn commit_at(&mut self, checkpoint: Checkpoint) -> Result<()> {
        let at = CommitPoint {
            delta: &self.pending,
            checkpoint: &checkpoint,
        };
        self.destination.commit(at).await?;
        self.checkpoint = checkpoint;
        self.pending = Delta::none();
        Ok(())
    }

    /// Writes and commits.
    pub async fn apply(&mut self, changeset: impl Into<Arc<ChangeSet>>) -> Result<()> {
        self.write(changeset).await?;
        self.commit().await
    }

    /// Opens a view of what was committed.
    pub async fn read_back(&mut self) -> Result<Box<dyn StoredView>> {
        self.destination.read_back().await
    }

    /// Closes the destination.
    pub async fn close(self) -> Result<()> {
        self.destination.close().await
    }
}
