//! When to try again, and when to stop trying.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Waits between tries: doubling from `min` to `max`, each with full jitter, so that a thousand clients of one server do not
/// come back at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait, at most.
    pub min: Duration,
    /// The longest wait.
    pub max: Duration,
    /// Give up after this long without success; `None` is for ever.
    pub give_up_after: Option<Duration>,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff {
            min: Duration::from_millis(200),
            max: Duration::from_secs(60),
            give_up_after: None,
        }
    }
}

impl Backoff {
    /// The wait after the `attempt`th failure, counted from 1: between half and the whole of the doubled minimum.
    pub fn wait(&self, attempt: u32) -> Duration {
        let doubled = self
            .min
            .saturating_mul(1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(self.max).mul_f64(rand::random_range(0.5..=1.0))
    }
}

/// How often something may be restarted before somebody must look.
#[derive(Debug, Clone)]
pub struct RestartBudget {
    restarts_max: usize,
    within: Duration,
    at: VecDeque<Instant>,
}

impl RestartBudget {
    /// At most `restarts_max` restarts `within` any such time.
    pub fn new(restarts_max: usize, within: Duration) -> Self {
        RestartBudget {
            restarts_max,
            within,
            at: VecDeque::new(),
        }
    }

    /// Spends one restart; `false` if the budget is spent.
    pub fn spend(&mut self) -> bool {
        let now = Instant::now();
        while self.at.front().is_some_and(|&at| now.duration_since(at) > self.within) {
            self.at.pop_front();
        }
        if self.at.len() >= self.restarts_max {
            return false;
        }
        self.at.push_back(now);
        true
    }

    /// Restarts that still count.
    pub fn spent(&self) -> usize {
        self.at.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_doubles_up_to_the_maximum_with_jitter() {
        let backoff = Backoff {
            min: Duration::from_millis(100),
            max: Duration::from_secs(1),
            give_up_after: None,
        };
        for (attempt, whole_ms) in [(1, 100), (2, 200), (3, 400), (5, 1000), (60, 1000)] {
            let wait = backoff.wait(attempt).as_millis();
            assert!(
                (whole_ms / 2..=whole_ms).contains(&wait),
                "attempt {attempt}: {wait} ms"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn budget_refills_as_time_passes() {
        let mut budget = RestartBudget::new(2, Duration::from_secs(60));
        assert!(budget.spend() && budget.spend());
        assert!(!budget.spend());
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(budget.spend());
    }
}
