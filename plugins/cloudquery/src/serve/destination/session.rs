//! What the calls of a destination share, and the streams of messages that write to it.
//!
//! - Two streams may be open at once, a sync's and a state client's; each message is whole.
//! - What a stream brought and nobody committed is void if it breaks off: its caller will send it again. A destination cannot
//!   take back a part, so everything since the last commit goes, and nothing is accepted before the next `Init`: a state
//!   client that is told otherwise would store a cursor ahead of its rows.
//! - A stream belongs to one `Init`. What it wrote before another one is void, and it is told so.
//! - A call whose caller goes away is dropped wherever it stands. So what writes or commits runs in a task of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::{CommitPoint, Destination};
use model::{Body, ChangeSet, Checkpoint, Control, Delta};
use proto::plugin_v3::write;
use proto::plugin_v3::write::request::Message;
use tokio::sync::Mutex;
use tonic::{Status, Streaming};
use tracing::{debug, warn};

use super::super::spec::failed;
use super::super::tables::Tables;

/// Tables that an error names.
const NAMED_MAX: usize = 10;

/// The one destination, if it is open.
#[derive(Clone, Default)]
pub(super) struct Session(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    open: Option<Open>,
    /// How often it was initialized.
    inits: u64,
    /// Whether it was given up since.
    is_given_up: bool,
}

pub(super) struct Open {
    pub(super) destination: Box<dyn Destination>,
    tables: Tables,
    checkpoint: Checkpoint,
    pending: Delta,
    /// The tables of which something is not committed.
    touched: BTreeSet<String>,
    commits: u64,
}

impl Open {
    pub(super) fn new(destination: Box<dyn Destination>, checkpoint: Checkpoint) -> Self {
        Open {
            destination,
            tables: Tables::new(&checkpoint),
            checkpoint,
            pending: Delta::none(),
            touched: BTreeSet::new(),
            commits: 0,
        }
    }

    async fn take(&mut self, changeset: ChangeSet) -> Result<(), api::Error> {
        self.pending.then(&changeset.delta);
        let of_rows = changeset.batches().iter().map(|batch| batch.schema.stream());
        let streams = of_rows.chain(control_of(&changeset).map(Control::stream));
        self.touched.extend(streams.map(|stream| stream.name().to_owned()));
        self.destination.write(Arc::new(changeset)).await.map(drop)
    }

    async fn commit(&mut self) -> Result<(), Status> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut checkpoint = self.checkpoint.clone();
        checkpoint
            .apply(&self.pending)
            .map_err(|error| Status::internal(format!("write failed: {error}")))?;
        let at = CommitPoint {
            delta: &self.pending,
            checkpoint: &checkpoint,
        };
        let outcome = self.destination.commit(at).await;
        outcome.map_err(|error| failed(&format!("write failed: {}", self.touched()), &error))?;
        (self.checkpoint, self.pending) = (checkpoint, Delta::none());
        self.touched.clear();
        self.commits += 1;
        Ok(())
    }

    /// What a commit is about, in words.
    fn touched(&self) -> String {
        let names: Vec<&str> = self.touched.iter().take(NAMED_MAX).map(String::as_str).collect();
        let more = match self.touched.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("commit of `{}`{more}", names.join("`, `"))
    }
}

fn control_of(changeset: &ChangeSet) -> Option<&Control> {
    match &changeset.body {
        Body::Control(control) => Some(control),
        Body::Rows(_) => None,
    }
}

impl State {
    fn not_open(&self) -> Status {
        Status::failed_precondition(if self.is_given_up {
            "write failed: an earlier write failed or broke off, and what it had not committed is void; initialize the plugin \
             again and send it again"
        } else {
            "write failed: the plugin is not initialized"
        })
    }

    /// What is not committed is void.
    async fn give_up(&mut self) {
        if let Some(open) = self.open.take() {
            self.is_given_up = true;
            let_go(open).await;
        }
    }

    /// Works on the open destination. If that panics nobody knows what it stands at, and it is gone.
    async fn with<T>(&mut self, work: impl AsyncFnOnce(&mut Open) -> Result<T, Status>) -> Result<T, Status> {
        let mut open = self.open.take().ok_or_else(|| self.not_open())?;
        self.is_given_up = true;
        let outcome = work(&mut open).await;
        self.is_given_up = false;
        self.open = Some(open);
        outcome
    }

    async fn commit(&mut self) -> Result<(), Status> {
        let outcome = self.with(async |open: &mut Open| open.commit().await).await;
        if outcome.is_err() {
            self.give_up().await;
        }
        outcome
    }
}

/// Lets a destination go whose work is void or done.
async fn let_go(open: Open) {
    if let Err(error) = open.destination.close().await {
        debug!(error = error.chain(), "a destination did not close in peace");
    }
}

/// Runs to its end, also where nobody waits for it any more.
pub(super) async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> Result<T, Status> {
    let outcome = tokio::spawn(work).await;
    outcome.unwrap_or_else(|_| Err(Status::internal("write failed: the connector panicked")))
}

impl Session {
    /// Makes room for a destination: the one before may hold a lock that the next one needs.
    pub(super) async fn renew(&self, open: impl AsyncFnOnce() -> Result<Option<Open>, Status>) -> Result<(), Status> {
        let mut state = self.0.lock().await;
        state.give_up().await;
        (state.inits, state.is_given_up) = (state.inits + 1, false);
        state.open = open().await?;
        Ok(())
    }

    /// For the messages of one call.
    pub(super) async fn stream(&self) -> Stream {
        Stream {
            session: self.clone(),
            init: self.0.lock().await.inits,
            message_count: 0,
            unflushed: None,
        }
    }

    /// Commits what there is, and lets somebody look: a view shows what is committed, and a caller expects to read what it wrote.
    pub(super) async fn look<T>(&self, look: impl AsyncFnOnce(&mut Open) -> Result<T, Status>) -> Result<T, Status> {
        let mut state = self.0.lock().await;
        state.commit().await?;
        state.with(look).await
    }

    /// Commits what there is and lets go.
    pub(super) async fn close(&self) -> Result<(), Status> {
        let mut state = self.0.lock().await;
        if state.open.is_none() {
            return Ok(());
        }
        state.commit().await?;
        match state.open.take() {
            Some(open) => {
                let closed = open.destination.close().await;
                closed.map_err(|error| failed("failed to close plugin", &error))
            }
            None => Ok(()),
        }
    }

    /// What was not committed is void: its caller is gone, and will send it again.
    pub(super) async fn end(&self) {
        self.0.lock().await.give_up().await;
    }
}

/// The messages of one call, in order.
pub(super) struct Stream {
    session: Session,
    /// The `Init` that it belongs to.
    init: u64,
    message_count: u64,
    /// At which count of commits it last brought something.
    unflushed: Option<u64>,
}

/// What a message of a stream is.
pub(super) enum Next {
    /// Something to write, which is taken.
    Taken,
    /// A flush with this number.
    Flush(u64),
    /// There is no more.
    End,
}

impl Stream {
    /// Takes the next message. After an error the stream is over, and what it brought is void.
    pub(super) async fn next(&mut self, messages: &mut Streaming<write::Request>) -> Result<Next, Status> {
        let outcome = match messages.message().await {
            Err(status) => Err(status),
            Ok(None) => return Ok(Next::End),
            Ok(Some(request)) => match request.message {
                Some(Message::Flush(flush)) => return Ok(Next::Flush(flush.id)),
                Some(message) => self.take(message).await,
                None => Err(Status::invalid_argument("a message of an unknown kind")),
            },
        };
        if let Err(status) = outcome {
            self.break_off(&status).await;
            return Err(status);
        }
        Ok(Next::Taken)
    }

    async fn take(&mut self, message: Message) -> Result<(), Status> {
        self.message_count += 1;
        let at = format!("message {} of the write", self.message_count);
        let mut state = self.session.0.lock().await;
        self.check(&state)?;
        let Some(open) = &mut state.open else {
            return Err(state.not_open());
        };
        let changesets = open.tables.changesets(message);
        let changesets =
            changesets.map_err(|status| Status::new(status.code(), format!("{at}: {}", status.message())))?;
        for changeset in changesets {
            let stream = control_of(&changeset).map(Control::stream);
            let stream = stream.or_else(|| changeset.batches().first().map(|batch| batch.schema.stream()));
            let what = match stream {
                Some(stream) => format!("write failed: {at}, table `{}`", stream.name()),
                None => format!("write failed: {at}"),
            };
            let outcome = state
                .with(async |open: &mut Open| open.take(changeset).await.map_err(|error| failed(&what, &error)))
                .await;
            if outcome.is_err() {
                state.give_up().await;
                return outcome;
            }
            self.unflushed = state.open.as_ref().map(|open| open.commits);
        }
        Ok(())
    }

    fn check(&self, state: &State) -> Result<(), Status> {
        match state.inits == self.init {
            true => Ok(()),
            false => Err(Status::failed_precondition(
                "write failed: the plugin was initialized again while this write was open, and what it had brought is void",
            )),
        }
    }

    /// Makes everything durable that any stream brought.
    pub(super) async fn commit(&self) -> Result<(), Status> {
        let mut state = self.session.0.lock().await;
        self.check(&state)?;
        state.commit().await
    }

    /// The answer to a flush. A commit that fails is said in it, with the tables of which something may be lost.
    pub(super) async fn flush(&self, id: u64) -> write::Response {
        let mut state = self.session.0.lock().await;
        let touched = match &state.open {
            Some(open) => open.touched.iter().cloned().collect(),
            None => Vec::new(),
        };
        let outcome = match self.check(&state) {
            Ok(()) => state.commit().await,
            Err(status) => Err(status),
        };
        let (flush_error, failed_tables) = match outcome {
            Ok(()) => (String::new(), Vec::new()),
            Err(status) => (status.message().to_owned(), touched),
        };
        write::Response {
            flush_id: id,
            flush_error,
            failed_tables,
        }
    }

    pub(super) async fn break_off(&self, why: &Status) {
        let mut state = self.session.0.lock().await;
        let is_ours = |open: &Open| self.init == state.inits && self.unflushed == Some(open.commits);
        if state.open.as_ref().is_some_and(is_ours) {
            warn!(
                messages = self.message_count,
                code = ?why.code(),
                "a write broke off: what it had not committed is void"
            );
            state.give_up().await;
        }
    }
}
