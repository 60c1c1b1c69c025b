//! The clocks of this machine, and instants as people and files write them.
//!
//! The only place that reads a clock. It does so through the system call, not `std`: `Instant`
//! stands still during suspend, in which a cooldown has to go on.

use crate::engine::time::{Day, Timestamp};
use crate::ports::Clock;
use jiff::tz::TimeZone;
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::time::Duration;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The clocks of this machine, and the calendar of a time zone.
#[derive(Debug, Clone, Default)]
pub struct SystemClock {
    /// `None`: the system's, asked each time, so that `timedatectl set-timezone` is followed.
    zone: Option<TimeZone>,
}

impl SystemClock {
    /// Days are those of the system's time zone; of UTC where it has none.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Days are those of `zone`.
    #[must_use]
    pub fn with_zone(zone: TimeZone) -> Self {
        Self { zone: Some(zone) }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp {
            boottime_ms: millis(clock_gettime(ClockId::Boottime)),
            wall_ms: millis(clock_gettime(ClockId::Realtime)),
        }
    }

    fn day(&self, at: Timestamp) -> Day {
        let zone = self.zone.clone().unwrap_or_else(TimeZone::system);
        day_in(at.wall_ms, zone).unwrap_or_else(|| day_of_utc(at.wall_ms))
    }
}

fn day_in(wall_ms: i64, zone: TimeZone) -> Option<Day> {
    let local = jiff::Timestamp::from_millisecond(wall_ms)
        .ok()?
        .to_zoned(zone);
    let epoch = jiff::civil::date(1970, 1, 1);
    // The first instant of the next date, which a change of the clocks can put elsewhere than
    // 24 hours after the first of this one, and even at another time than 00:00.
    let midnight = local.tomorrow().ok()?.start_of_day().ok()?;
    let remaining_ms = midnight.timestamp().as_millisecond().checked_sub(wall_ms)?;
    Some(Day {
        number: local.date().since(epoch).ok()?.get_days(),
        remaining_ms: u64::try_from(remaining_ms).ok()?,
    })
}

/// For instants outside the calendar, which only a broken wall clock gives.
fn day_of_utc(wall_ms: i64) -> Day {
    let number = wall_ms.div_euclid(DAY_MS);
    Day {
        number: i32::try_from(number).unwrap_or(if number < 0 { i32::MIN } else { i32::MAX }),
        remaining_ms: (DAY_MS - wall_ms.rem_euclid(DAY_MS)).unsigned_abs(),
    }
}

/// `CLOCK_MONOTONIC`, which is what `std::time::Instant` reads in the libraries that we use.
pub(crate) fn monotonic() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanos)
}

fn millis(time: Timespec) -> i64 {
    time.tv_sec
        .saturating_mul(1000)
        .saturating_add(time.tv_nsec / 1_000_000)
}

/// An instant as files and scripts write it: UTC to the millisecond, `2026-11-24T15:07:41.123Z`.
///
/// `wall_ms` is milliseconds since the Unix epoch; what lies outside the years 0 to 9999 becomes
/// the first or last instant that the form can write.
#[must_use]
pub fn rfc3339(wall_ms: i64) -> String {
    instant(wall_ms)
        .strftime("%Y-%m-%dT%H:%M:%S.%3fZ")
        .to_string()
}

/// The milliseconds since the Unix epoch of what [`rfc3339`] wrote, or of any other RFC 3339
/// instant with its offset; `None` if `text` is no such instant.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let instant: jiff::Timestamp = text.parse().ok()?;
    Some(instant.as_millisecond())
}

/// An instant as people read it, in the system's time zone: `2026-11-24 16:07:41 CET`.
#[must_use]
pub fn local_time(wall_ms: i64) -> String {
    local_time_in(wall_ms, TimeZone::system())
}

fn local_time_in(wall_ms: i64, zone: TimeZone) -> String {
    instant(wall_ms)
        .to_zoned(zone)
        .strftime("%Y-%m-%d %H:%M:%S %Z")
        .to_string()
}

fn instant(wall_ms: i64) -> jiff::Timestamp {
    /// 0000-01-01T00:00:00Z: years before it have no four digits.
    const FIRST_MS: i64 = -62_167_219_200_000;
    jiff::Timestamp::from_millisecond(wall_ms.max(FIRST_MS)).unwrap_or(jiff::Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR_MS: u64 = 60 * 60 * 1000;

    fn ms(text: &str) -> i64 {
        parse_rfc3339(text).unwrap()
    }

    fn day(zone: &str, instant: &str) -> Day {
        let zone = TimeZone::get(zone).unwrap();
        SystemClock::with_zone(zone).day(Timestamp {
            boottime_ms: 0,
            wall_ms: ms(instant),
        })
    }

    #[test]
    fn an_ordinary_day_ends_at_local_midnight() {
        let evening = day("Europe/Stockholm", "2026-11-24T22:30:00.250Z");
        assert_eq!(evening.number, 20_781);
        assert_eq!(evening.remaining_ms, HOUR_MS / 2 - 250);
        let night = day("Europe/Stockholm", "2026-11-24T23:00:00Z");
        assert_eq!(night.number, 20_782);
        assert_eq!(night.remaining_ms, 24 * HOUR_MS);
    }

    #[test]
    fn the_epoch_is_day_zero_and_earlier_days_are_negative() {
        assert_eq!(day("UTC", "1970-01-01T00:00:00Z").number, 0);
        let before = day("UTC", "1969-12-31T23:59:59.999Z");
        assert_eq!((before.number, before.remaining_ms), (-1, 1));
    }

    #[test]
    fn days_of_a_clock_change_have_their_real_length() {
        for (zone, first_instant, hours) in [
            ("Europe/Stockholm", "2026-03-28T23:00:00Z", 23),
            ("Europe/Stockholm", "2026-10-24T22:00:00Z", 25),
            // Changes at midnight: the day has no 00:00, or the one before has 23:00 twice.
            ("America/Sao_Paulo", "2018-11-04T03:00:00Z", 23),
            ("America/Sao_Paulo", "2018-02-17T02:00:00Z", 25),
        ] {
            let whole = day(zone, first_instant);
            assert_eq!(
                whole.remaining_ms,
                hours * HOUR_MS,
                "{zone} {first_instant}"
            );
            let last = Timestamp {
                boottime_ms: 0,
                wall_ms: ms(first_instant) + i64::try_from(whole.remaining_ms).unwrap() - 1,
            };
            let clock = SystemClock::with_zone(TimeZone::get(zone).unwrap());
            assert_eq!(clock.day(last).number, whole.number, "{zone} last instant");
            assert_eq!(clock.day(last).remaining_ms, 1);
            let next = last.plus(Duration::from_millis(1));
            assert_eq!(clock.day(next).number, whole.number + 1);
        }
    }

    #[test]
    fn a_date_that_a_zone_skipped_is_no_day() {
        let before = day("Pacific/Apia", "2011-12-30T09:59:59Z");
        assert_eq!(before.remaining_ms, 1000);
        assert_eq!(
            day("Pacific/Apia", "2011-12-30T10:00:00Z").number,
            before.number + 2
        );
    }

    #[test]
    fn the_clocks_run_and_boottime_is_at_least_monotonic() {
        let clock = SystemClock::new();
        let monotonic = monotonic();
        let now = clock.now();
        assert!(now.boottime_ms >= i64::try_from(monotonic.as_millis()).unwrap());
        assert!(now.wall_ms > ms("2024-01-01T00:00:00Z"));
        let later = clock.now();
        assert!(later.boottime_ms >= now.boottime_ms);
    }

    #[test]
    fn instants_are_written_in_utc_to_the_millisecond() {
        assert_eq!(rfc3339(1_795_532_861_123), "2026-11-24T15:07:41.123Z");
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(rfc3339(i64::MIN), "0000-01-01T00:00:00.000Z");
        assert!(rfc3339(i64::MAX).starts_with("9999-12-30T"));
    }

    #[test]
    fn other_forms_of_an_instant_are_read_and_what_is_none_is_not() {
        assert_eq!(
            parse_rfc3339("2026-11-24T16:07:41.123456+01:00"),
            Some(1_795_532_861_123)
        );
        for none in ["", "2026-11-24", "15:07:41", "2026-13-01T00:00:00Z", "now"] {
            assert_eq!(parse_rfc3339(none), None, "{none}");
        }
    }

    #[test]
    fn people_read_local_time_with_its_zone() {
        let stockholm = TimeZone::get("Europe/Stockholm").unwrap();
        assert_eq!(
            local_time_in(1_795_532_861_123, stockholm.clone()),
            "2026-11-24 16:07:41 CET"
        );
        assert_eq!(
            local_time_in(ms("2026-07-01T00:00:00Z"), stockholm),
            "2026-07-01 02:00:00 CEST"
        );
        assert_eq!(local_time(0).len(), "1970-01-01 00:00:00 ".len() + 3);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(wall_ms in -62_167_219_200_000i64..253_402_207_200_000) {
            prop_assert_eq!(parse_rfc3339(&rfc3339(wall_ms)), Some(wall_ms));
        }

        #[test]
        fn every_instant_has_a_day(wall_ms: i64) {
            for zone in [TimeZone::UTC, TimeZone::get("Europe/Stockholm").unwrap()] {
                let clock = SystemClock::with_zone(zone);
                let day = clock.day(Timestamp { boottime_ms: 0, wall_ms });
                prop_assert!(day.remaining_ms > 0);
            }
            prop_assert!(!local_time(wall_ms).is_empty());
        }
    }
}
