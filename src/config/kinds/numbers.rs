//! Numbers and durations, each between bounds.

use super::super::duration::{Dur, DurError};
use super::super::slot::{Fault, Kind, Written, shortened};
use super::toml_string;
use std::ops::RangeInclusive;
use std::time::Duration;
use toml::de::DeValue;

/// A whole number.
pub(in crate::config) struct Count(pub RangeInclusive<u32>);

impl Kind for Count {
    type Value = u32;

    fn read(&self, written: &Written<'_>) -> Result<u32, Vec<Fault>> {
        let DeValue::Integer(number) = written.get_ref() else {
            let fault = Fault::wrong_type(written);
            return Err(vec![match written.get_ref() {
                DeValue::String(text) if text.parse::<u32>().is_ok() => {
                    fault.help(format!("write it without quotes: {text}"))
                }
                DeValue::Float(number) if number.as_str().ends_with(".0") => {
                    let whole = number.as_str().trim_end_matches(".0");
                    fault.help(format!("write it without a fraction: {}", shortened(whole)))
                }
                _ => fault,
            }]);
        };
        i64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| self.0.contains(number))
            .ok_or_else(|| vec![Fault::out_of_range(written)])
    }

    fn write(&self, value: &u32) -> String {
        value.to_string()
    }

    fn allowed(&self) -> String {
        format!("a whole number from {} to {}", self.0.start(), self.0.end())
    }
}

/// A list of different whole numbers, kept ascending.
pub(in crate::config) struct Counts(pub Count);

impl Kind for Counts {
    type Value = Vec<u32>;

    fn read(&self, written: &Written<'_>) -> Result<Vec<u32>, Vec<Fault>> {
        let Some(items) = written.get_ref().as_array() else {
            return Err(vec![Fault::wrong_type(written)]);
        };
        let mut counts = Vec::new();
        let mut faults = Vec::new();
        for item in items.iter() {
            match self.0.read(item) {
                Ok(count) if counts.contains(&count) => {
                    faults.push(Fault::new(item, "named twice"));
                }
                Ok(count) => counts.push(count),
                Err(fault) => faults.extend(fault),
            }
        }
        counts.sort_unstable();
        if faults.is_empty() {
            Ok(counts)
        } else {
            Err(faults)
        }
    }

    fn write(&self, value: &Vec<u32>) -> String {
        let numbers: Vec<_> = value.iter().map(u32::to_string).collect();
        format!("[{}]", numbers.join(", "))
    }

    fn allowed(&self) -> String {
        let (first, last) = (self.0.0.start(), self.0.0.end());
        format!("a list of different whole numbers from {first} to {last}, or [] for all")
    }
}

/// A number with a fraction, written as a multiple of what it means: percent of a share.
pub(in crate::config) struct Number {
    pub unit: &'static str,
    pub per_one: f64,
    pub range: RangeInclusive<f64>,
    /// What a fault below 1 most likely is, where 1 is the least.
    pub below: Option<&'static str>,
}

/// A percentage in the file, a share from 0 to 1 in the program.
pub(in crate::config) const fn percent(least: u8) -> Number {
    Number {
        unit: "a percentage",
        per_one: 100.0,
        range: least as f64..=100.0,
        below: Some("this is a percentage: 90 means 90 %, 0.9 would be less than one"),
    }
}

/// A plain factor.
pub(in crate::config) const fn factor(range: RangeInclusive<f64>) -> Number {
    Number {
        unit: "a number",
        per_one: 1.0,
        range,
        below: None,
    }
}

impl Kind for Number {
    type Value = f64;

    fn read(&self, written: &Written<'_>) -> Result<f64, Vec<Fault>> {
        let number = match written.get_ref() {
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .ok()
                .map(|n| n as f64),
            DeValue::Float(number) => number.as_str().parse().ok(),
            DeValue::String(text) => {
                let bare = text.trim_end_matches('%').trim();
                let fault = Fault::wrong_type(written);
                return Err(vec![match bare.parse::<f64>() {
                    Ok(number) if number.is_finite() => {
                        fault.help(format!("write it bare: {bare}"))
                    }
                    _ => fault,
                }]);
            }
            _ => return Err(vec![Fault::wrong_type(written)]),
        };
        match number {
            Some(number) if number.is_nan() => Err(vec![Fault::new(written, "not a number")]),
            Some(number) if self.range.contains(&number) => Ok(number / self.per_one),
            _ => {
                let fault = Fault::out_of_range(written);
                let share = number.is_some_and(|n| n > 0.0 && n < *self.range.start());
                Err(vec![match self.below {
                    Some(help) if share => fault.help(help),
                    _ => fault,
                }])
            }
        }
    }

    fn write(&self, value: &f64) -> String {
        // 0.07 × 100 is 7.000000000000001: look for the shortest text that is read back the same.
        let scaled = value * self.per_one;
        (0..17)
            .map(|digits| format!("{scaled:.digits$}"))
            .chain([scaled, scaled.next_up(), scaled.next_down()].map(|n| format!("{n:?}")))
            .find(|text| {
                text.parse::<f64>()
                    .is_ok_and(|n| n / self.per_one == *value)
            })
            .unwrap_or_else(|| format!("{scaled:?}"))
    }

    fn allowed(&self) -> String {
        format!(
            "{} from {} to {}",
            self.unit,
            self.range.start(),
            self.range.end()
        )
    }
}

/// A duration between bounds, in milliseconds.
pub(in crate::config) struct Lasting {
    pub ms: RangeInclusive<u64>,
    /// The key that the least depends on; `ms` begins with the least of that one.
    pub least: Option<&'static str>,
    /// Zero too, and what it means then.
    pub zero: Option<&'static str>,
}

/// A duration between bounds, in milliseconds.
pub(in crate::config) const fn lasting(ms: RangeInclusive<u64>) -> Lasting {
    Lasting {
        ms,
        least: None,
        zero: None,
    }
}

impl Kind for Lasting {
    type Value = Duration;

    fn read(&self, written: &Written<'_>) -> Result<Duration, Vec<Fault>> {
        let duration = match written.get_ref() {
            DeValue::String(text) => match text.parse::<Dur>() {
                Ok(Dur(duration)) => duration,
                Err(DurError::TooLong) => return Err(vec![Fault::out_of_range(written)]),
                Err(e) => {
                    return Err(vec![
                        Fault::new(written, "not a duration").help(e.to_string()),
                    ]);
                }
            },
            DeValue::Integer(number) if number.as_str() == "0" => Duration::ZERO,
            DeValue::Integer(number) if number.radix() == 10 => {
                let unit = format!(
                    "a duration has a unit: write \"{0}s\"",
                    shortened(number.as_str())
                );
                return Err(vec![Fault::wrong_type(written).help(unit)]);
            }
            _ => return Err(vec![Fault::wrong_type(written)]),
        };
        if duration.subsec_nanos() % 1_000_000 != 0 {
            return Err(vec![Fault::new(written, "finer than a millisecond")]);
        }
        let fits = u64::try_from(duration.as_millis()).is_ok_and(|ms| self.ms.contains(&ms));
        if fits || (duration.is_zero() && self.zero.is_some()) {
            return Ok(duration);
        }
        let fault = Fault::out_of_range(written);
        let month = written
            .get_ref()
            .as_str()
            .is_some_and(|text| text.contains('M'));
        Err(vec![if month {
            fault.help("m is minutes, M is months")
        } else {
            fault
        }])
    }

    fn write(&self, value: &Duration) -> String {
        toml_string(&Dur(*value).to_string())
    }

    fn allowed(&self) -> String {
        let dur = |ms: &u64| Dur(Duration::from_millis(*ms)).to_string();
        let least = self
            .least
            .map_or_else(|| dur(self.ms.start()), str::to_owned);
        let range = format!("a duration from {least} to {}", dur(self.ms.end()));
        match self.zero {
            Some(meaning) => format!("{range}, or \"0s\": {meaning}"),
            None => range,
        }
    }
}
