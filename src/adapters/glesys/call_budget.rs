//! The own call rate: a guard against a loop of calls, whatever causes it.

use std::time::Duration;

/// How often the API may be called: a token bucket.
///
/// The provider publishes no limit; a few calls a minute are asked of us
/// (`glesys-api.md` section 6). The engine spaces its calls itself. This guard only stops what
/// would be a fault.
#[derive(Debug, Clone)]
pub struct CallBudget {
    burst: u32,
    refill: Duration,
    /// Calls left at `at`.
    left: u32,
    /// An instant at which a call was added or the bucket was full, since the caller's start.
    at: Duration,
}

impl CallBudget {
    /// At most `burst` calls at once, and one more each `refill`. A zero `refill` sets no limit;
    /// a zero `burst` counts as 1.
    #[must_use]
    pub fn new(burst: u32, refill: Duration) -> CallBudget {
        let burst = burst.max(1);
        CallBudget {
            burst,
            refill,
            left: burst,
            at: Duration::ZERO,
        }
    }

    /// Takes one call at `now`, the time since any fixed start that does not go back.
    ///
    /// # Errors
    /// The time to wait for the next call, when none is left.
    pub fn take(&mut self, now: Duration) -> Result<(), Duration> {
        if self.refill.is_zero() {
            return Ok(());
        }
        let elapsed = now.saturating_sub(self.at);
        let gained = elapsed.as_nanos() / self.refill.as_nanos();
        match u32::try_from(gained) {
            Ok(gained) if self.left.saturating_add(gained) < self.burst => {
                self.left += gained;
                // What is left over of `refill` counts for the next call.
                self.at += self.refill * gained;
            }
            _ => {
                self.left = self.burst;
                self.at = now;
            }
        }
        if self.left == 0 {
            return Err((self.at + self.refill).saturating_sub(now));
        }
        self.left -= 1;
        Ok(())
    }
}

impl Default for CallBudget {
    /// 6 at once and one each 10 s: at most 12 in any minute.
    fn default() -> CallBudget {
        CallBudget::new(6, Duration::from_secs(10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn six_at_once_then_one_each_ten_seconds() {
        let mut budget = CallBudget::default();
        for _ in 0..6 {
            assert_eq!(budget.take(SECOND * 100), Ok(()));
        }
        assert_eq!(budget.take(SECOND * 100), Err(SECOND * 10));
        assert_eq!(budget.take(SECOND * 104), Err(SECOND * 6));
        assert_eq!(budget.take(SECOND * 110), Ok(()));
        assert_eq!(budget.take(SECOND * 110), Err(SECOND * 10));
        assert_eq!(budget.take(SECOND * 119), Err(SECOND));
        assert_eq!(budget.take(SECOND * 120), Ok(()));
    }

    #[test]
    fn a_refused_call_costs_nothing() {
        let mut budget = CallBudget::new(1, SECOND * 10);
        assert_eq!(budget.take(SECOND), Ok(()));
        for at in 2..11 {
            assert!(budget.take(SECOND * at).is_err());
        }
        assert_eq!(budget.take(SECOND * 11), Ok(()));
    }

    #[test]
    fn a_long_rest_fills_it_no_further_than_the_burst() {
        let mut budget = CallBudget::default();
        for _ in 0..6 {
            assert_eq!(budget.take(SECOND), Ok(()));
        }
        let later = Duration::from_secs(u64::MAX / 2);
        for _ in 0..6 {
            assert_eq!(budget.take(later), Ok(()));
        }
        assert!(budget.take(later).is_err());
    }

    #[test]
    fn never_more_than_twelve_in_any_minute() {
        let mut budget = CallBudget::default();
        let mut taken = Vec::new();
        for tenth in 0..6000_u32 {
            let now = Duration::from_millis(u64::from(tenth) * 100);
            if budget.take(now).is_ok() {
                taken.push(now);
            }
        }
        for first in &taken {
            let within = taken
                .iter()
                .filter(|at| **at >= *first && **at < *first + SECOND * 60);
            assert!(within.count() <= 12);
        }
        assert!(taken.len() > 60, "the rate is not spent: {}", taken.len());
    }

    #[test]
    fn without_a_refill_time_there_is_no_limit() {
        let mut budget = CallBudget::new(1, Duration::ZERO);
        assert!((0..100).all(|_| budget.take(Duration::ZERO).is_ok()));
    }
}
