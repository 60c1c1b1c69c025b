//! Durations as people write them: `90s`, `1m 30s`, `2h`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A duration in text, as `humantime` reads it. A bare number has no unit and is refused, but for
/// `0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dur(pub Duration);

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurError {
    /// A number alone.
    #[error("a number without a unit: write \"{0}s\", \"{0}m\" or \"{0}h\"")]
    NoUnit(u64),
    /// A unit that does not exist.
    #[error("no such unit as {0:?}: write ms, s, m (minutes), h or d")]
    UnknownUnit(String),
    /// More digits than any sensible duration has.
    #[error("more digits than a duration can have")]
    TooLong,
    /// Anything else.
    #[error("not a duration: write it like \"90s\", \"1m 30s\" or \"2h\"")]
    Malformed,
}

impl FromStr for Dur {
    type Err = DurError;

    fn from_str(text: &str) -> Result<Dur, DurError> {
        // humantime 2.4 panics on the last second that a `Duration` can hold and then exactly
        // 10⁹ ns, as in "18446744073709551615s 1000ms". The latter takes at least four digits, and
        // eleven more stay below that second even as years.
        if text.bytes().filter(u8::is_ascii_digit).count() > 15 {
            return Err(DurError::TooLong);
        }
        humantime::parse_duration(text)
            .map(Dur)
            .map_err(|e| match e {
                humantime::DurationError::UnknownUnit { unit, value, .. } if unit.is_empty() => {
                    DurError::NoUnit(value)
                }
                humantime::DurationError::UnknownUnit { unit, .. } => DurError::UnknownUnit(unit),
                _ => DurError::Malformed,
            })
    }
}

impl fmt::Display for Dur {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        for (text, ms) in [
            ("5s", 5_000),
            ("250ms", 250),
            ("1m 30s", 90_000),
            ("1.5h", 5_400_000),
            ("0", 0),
            ("0s", 0),
            ("1day", 86_400_000),
        ] {
            assert_eq!(text.parse(), Ok(Dur(Duration::from_millis(ms))), "{text}");
        }
    }

    #[test]
    fn a_minute_is_no_month() {
        let minute: Dur = "1m".parse().unwrap();
        let month: Dur = "1M".parse().unwrap();
        assert_eq!(minute.0, Duration::from_secs(60));
        assert!(month.0 > Duration::from_secs(30 * 86_400));
    }

    #[test]
    fn says_what_mends_it() {
        let refused = |text: &str| text.parse::<Dur>().unwrap_err();
        assert_eq!(refused("60"), DurError::NoUnit(60));
        assert_eq!(
            refused("5 sekunder"),
            DurError::UnknownUnit("sekunder".into())
        );
        assert_eq!(refused("18446744073709551615s 1000ms"), DurError::TooLong);
        for text in ["", "  ", "-5s", "s", "1h30", "½h"] {
            assert!(text.parse::<Dur>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(ms in 0u64..=400 * 86_400_000) {
            let shown = Dur(Duration::from_millis(ms));
            prop_assert_eq!(shown.to_string().parse(), Ok(shown));
        }

        #[test]
        fn nothing_panics(text in "[0-9a-zA-Zµ. ½]{0,40}") {
            let _ = text.parse::<Dur>();
        }
    }
}
