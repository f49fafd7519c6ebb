//! What goes wrong, and at which call.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::{Error, Result, Retry};

/// A method of a connector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Call {
    Check,
    Open,
    Write,
    Commit,
    Close,
    Forget,
    Discover,
    Next,
    Head,
    Acknowledge,
    ReadExisting,
}

/// What goes wrong.
#[derive(Clone)]
pub enum Fault {
    /// The call fails with this error and does nothing.
    Fail(Arc<dyn Fn() -> Error + Send + Sync>),
    /// The call does its work, then fails: an answer that was lost on the way.
    LoseAnswer(Arc<dyn Fn() -> Error + Send + Sync>),
    /// The call panics.
    Panic,
    /// The call waits until the faults are healed, then goes on.
    Hang,
    /// The call takes this much longer.
    Delay(Duration),
}

impl Fault {
    /// Fails with a plain error of this class.
    pub fn fail(retry: Retry) -> Self {
        Fault::Fail(Arc::new(move || plain(retry)))
    }

    /// Does its work, then fails with a plain error that asks to be retried.
    pub fn lose_answer() -> Self {
        Fault::LoseAnswer(Arc::new(|| plain(Retry::After)))
    }
}

fn plain(retry: Retry) -> Error {
    Error::new("E0599", retry, "cannot do what was asked: a fault is armed")
}

/// At which calls of a kind a fault strikes. Counted from the moment it is armed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At the nth call from now, once. 1 is the next.
    Nth(u64),
    /// At every call until healed.
    Always,
}

/// The faults of one connector, shared by all values that were made from it; armed and healed at run time.
#[derive(Clone, Default)]
pub struct Faults(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    healed: Notify,
}

#[derive(Default)]
struct State {
    counts: BTreeMap<Call, u64>,
    armed: Vec<Armed>,
    struck: u64,
    heal_count: u64,
}

struct Armed {
    call: Call,
    /// The absolute count of the call; `None` for each.
    at: Option<u64>,
    fault: Fault,
}

impl Faults {
    /// No faults.
    pub fn none() -> Self {
        Self::default()
    }

    /// Arms a fault. Several may be armed; at one call the first armed strikes.
    pub fn arm(&self, call: Call, when: When, fault: Fault) -> &Self {
        let mut state = self.state();
        let at = match when {
            When::Nth(n) => Some(state.counts.get(&call).copied().unwrap_or(0) + n),
            When::Always => None,
        };
        state.armed.push(Armed { call, at, fault });
        self
    }

    /// Removes every fault and lets those that hang go on.
    pub fn heal(&self) {
        let mut state = self.state();
        state.armed.clear();
        state.heal_count += 1;
        drop(state);
        self.0.healed.notify_waiters();
    }

    /// How often a method was called.
    pub fn count(&self, call: Call) -> u64 {
        self.state().counts.get(&call).copied().unwrap_or(0)
    }

    /// How often a fault struck.
    pub fn struck(&self) -> u64 {
        self.state().struck
    }

    /// Counts a call, does what is armed for it, and else runs it.
    pub(crate) async fn around<T>(&self, call: Call, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let heal_count = self.state().heal_count;
        match self.strike(call) {
            None => work.await,
            Some(Fault::Fail(error)) => Err(error()),
            Some(Fault::LoseAnswer(error)) => {
                work.await?;
                Err(error())
            }
            Some(Fault::Panic) => panic!("a fault is armed at {call:?}"),
            Some(Fault::Hang) => {
                self.until_healed_after(heal_count).await;
                work.await
            }
            Some(Fault::Delay(delay)) => {
                tokio::time::sleep(delay).await;
                work.await
            }
        }
    }

    fn strike(&self, call: Call) -> Option<Fault> {
        let mut state = self.state();
        let count = state.counts.entry(call).or_default();
        *count += 1;
        let count = *count;
        let at = state
            .armed
            .iter()
            .position(|armed| armed.call == call && armed.at.is_none_or(|at| at == count))?;
        state.struck += 1;
        let fault = state.armed[at].fault.clone();
        if state.armed[at].at.is_some() {
            state.armed.remove(at);
        }
        Some(fault)
    }

    /// A one-time hang is off the list when it strikes, so it waits for the next heal, not for an empty list.
    async fn until_healed_after(&self, heal_count: u64) {
        loop {
            let healed = self.0.healed.notified();
            tokio::pin!(healed);
            healed.as_mut().enable();
            if self.state().heal_count > heal_count {
                return;
            }
            healed.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
