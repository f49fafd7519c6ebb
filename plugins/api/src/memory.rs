//! One byte budget for everything in flight in the process.
//!
//! Invariants:
//! - the sum of all reservations never exceeds the limit, except that a request larger than what a share can ever get is
//!   admitted alone: it takes everything the share can get, and waits until that is free;
//! - each share has a floor that nobody else can take, so a pipeline whose neighbour is stuck goes on;
//! - only sources wait here. What is downstream of a source works with what was reserved for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The process's memory budget.
#[derive(Clone)]
pub struct Budget(Arc<Pool>);

struct Pool {
    limit: usize,
    state: Mutex<PoolState>,
    freed: Notify,
}

struct PoolState {
    /// Bytes that no floor has set aside, and how many of them are taken.
    common: usize,
    common_used: usize,
    floors_used: usize,
}

/// One pipeline's part of the budget.
#[derive(Clone)]
pub struct Share(Arc<ShareInner>);

struct ShareInner {
    pool: Arc<Pool>,
    floor: usize,
    floor_used: Mutex<usize>,
}

/// Bytes taken from a [`Share`]; given back when dropped.
pub struct Reservation {
    share: Arc<ShareInner>,
    from_floor: usize,
    from_common: usize,
}

impl Budget {
    /// A budget of `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Self {
        let state = PoolState {
            common: limit_bytes,
            common_used: 0,
            floors_used: 0,
        };
        Budget(Arc::new(Pool {
            limit: limit_bytes,
            state: Mutex::new(state),
            freed: Notify::new(),
        }))
    }

    /// Sets a floor aside for one pipeline. What the limit does not cover is not set aside: `validate` has refused that.
    pub fn share(&self, floor_bytes: usize) -> Share {
        let mut state = lock(&self.0.state);
        let floor = floor_bytes.min(state.common);
        state.common -= floor;
        drop(state);
        Share(Arc::new(ShareInner {
            pool: Arc::clone(&self.0),
            floor,
            floor_used: Mutex::new(0),
        }))
    }

    /// Bytes reserved now.
    pub fn used_bytes(&self) -> usize {
        let state = lock(&self.0.state);
        state.common_used + state.floors_used
    }

    /// The limit.
    pub fn limit_bytes(&self) -> usize {
        self.0.limit
    }
}

impl Drop for ShareInner {
    fn drop(&mut self) {
        lock(&self.pool.state).common += self.floor;
        self.pool.freed.notify_waiters();
    }
}

impl Share {
    /// Takes `bytes`, waiting for them if need be. Cancel-safe: a dropped future took nothing.
    pub async fn reserve(&self, bytes: usize) -> Reservation {
        loop {
            let freed = self.0.pool.freed.notified();
            tokio::pin!(freed);
            // Registered before the look, so that what is freed in between is not missed.
            freed.as_mut().enable();
            if let Some(reservation) = self.try_reserve(bytes) {
                return reservation;
            }
            freed.await;
        }
    }

    /// Takes `bytes` if they are free now.
    pub fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        let mut state = lock(&self.0.pool.state);
        let mut floor_used = lock(&self.0.floor_used);
        let bytes = bytes.min(self.0.floor + state.common);
        let from_floor = bytes.min(self.0.floor - *floor_used);
        let from_common = bytes - from_floor;
        if from_common > state.common - state.common_used.min(state.common) {
            return None;
        }
        *floor_used += from_floor;
        state.floors_used += from_floor;
        state.common_used += from_common;
        drop((state, floor_used));
        Some(Reservation {
            share: Arc::clone(&self.0),
            from_floor,
            from_common,
        })
    }

    /// Takes `bytes` of what no floor has set aside, if they are free now and `left` bytes stay free for this share.
    ///
    /// For work that is done ahead, and whose memory is given back only after other work of the same source went on: that
    /// other work finds its floor untouched.
    pub fn try_reserve_spare(&self, bytes: usize, left: usize) -> Option<Reservation> {
        let mut state = lock(&self.0.pool.state);
        let floor_free = self.0.floor - *lock(&self.0.floor_used);
        let common_free = state.common.saturating_sub(state.common_used);
        if bytes > common_free || floor_free + common_free - bytes < left {
            return None;
        }
        state.common_used += bytes;
        drop(state);
        Some(Reservation {
            share: Arc::clone(&self.0),
            from_floor: 0,
            from_common: bytes,
        })
    }

    /// The most that this share can ever hold at once.
    pub fn limit_bytes(&self) -> usize {
        self.0.floor + lock(&self.0.pool.state).common
    }

    /// A share of its own budget, for tests and tools.
    pub fn alone(limit_bytes: usize) -> Self {
        Budget::new(limit_bytes).share(0)
    }
}

impl Reservation {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.from_floor + self.from_common
    }

    /// Gives back what is more than `bytes`: a source reserves for the largest changeset and keeps what it built.
    pub fn shrink_to(&mut self, bytes: usize) {
        let excess = self.bytes().saturating_sub(bytes);
        let from_common = excess.min(self.from_common);
        self.give_back(excess - from_common, from_common);
    }

    /// Cuts up to `bytes` off into a reservation of their own, for a source that builds two changesets at once.
    #[must_use]
    pub fn split_off(&mut self, bytes: usize) -> Reservation {
        let bytes = bytes.min(self.bytes());
        let from_common = bytes.min(self.from_common);
        let from_floor = bytes - from_common;
        self.from_common -= from_common;
        self.from_floor -= from_floor;
        Reservation {
            share: Arc::clone(&self.share),
            from_floor,
            from_common,
        }
    }

    fn give_back(&mut self, to_floor: usize, to_common: usize) {
        if to_floor + to_common == 0 {
            return;
        }
        let mut state = lock(&self.share.pool.state);
        *lock(&self.share.floor_used) -= to_floor;
        state.floors_used -= to_floor;
        state.common_used -= to_common;
        drop(state);
        self.from_floor -= to_floor;
        self.from_common -= to_common;
        self.share.pool.freed.notify_waiters();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.give_back(self.from_floor, self.from_common);
    }
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reservation({}B)", self.bytes())
    }
}

/// The numbers are valid after every statement, so a panic elsewhere does not poison them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn reservation_returns_its_bytes_when_dropped() {
        let budget = Budget::new(100);
        let share = budget.share(0);
        let held = share.try_reserve(60).expect("60 of 100 are free");
        assert!(share.try_reserve(60).is_none());
        drop(held);
        assert_eq!(share.try_reserve(60).expect("free again").bytes(), 60);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn floor_cannot_be_taken_by_a_neighbour() {
        let budget = Budget::new(100);
        let (greedy, modest) = (budget.share(0), budget.share(30));
        let _all = greedy.try_reserve(70).expect("what no floor has");
        assert!(greedy.try_reserve(1).is_none());
        assert_eq!(modest.try_reserve(30).expect("its floor").bytes(), 30);
    }

    #[test]
    fn spare_memory_leaves_the_floor_and_what_was_asked_for() {
        let share = Budget::new(100).share(20);
        let held = share
            .try_reserve_spare(50, 40)
            .expect("80 are common, 50 of them leave 50");
        assert!(share.try_reserve_spare(20, 40).is_none(), "30 would be left");
        assert!(share.try_reserve_spare(40, 0).is_none(), "the floor is not spare");
        assert_eq!(share.try_reserve(50).expect("floor and common").bytes(), 50);
        drop(held);
        assert_eq!(share.try_reserve_spare(50, 0).expect("given back").bytes(), 50);
    }

    #[test]
    fn request_larger_than_the_limit_is_admitted_alone() {
        let share = Budget::new(100).share(10);
        let one = share.try_reserve(1).expect("free");
        assert!(share.try_reserve(1_000).is_none());
        drop(one);
        assert_eq!(share.try_reserve(1_000).expect("alone").bytes(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn waiter_goes_on_when_enough_is_given_back() {
        let share = Budget::new(100).share(0);
        let mut held = share.reserve(100).await;
        let waiting = tokio::spawn({
            let share = share.clone();
            async move { share.reserve(40).await.bytes() }
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(!waiting.is_finished());
        held.shrink_to(60);
        assert_eq!(waiting.await.expect("not cancelled"), 40);
    }
}
