//! A set of CPUs as the kernel writes it: numbers and ranges, with holes.

use super::number;
use std::fmt;
use std::ops::RangeInclusive;

/// A set of CPU numbers, with whatever holes it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuSet {
    /// Ascending, with a hole between each two.
    ranges: Vec<RangeInclusive<u32>>,
}

impl CpuSet {
    /// Reads the kernel's way of writing a set: `0,2-3`.
    ///
    /// # Errors
    /// Says what is wrong with `text`. An empty set is an error: a machine has a CPU.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut ranges: Vec<RangeInclusive<u32>> = Vec::new();
        for part in text.trim().split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Ok(first), Ok(last)) = (number(first), number(last)) else {
                return Err(format!("`{part}` is no CPU number or range"));
            };
            if last < first {
                return Err(format!("the range `{part}` runs backwards"));
            }
            match ranges.last_mut() {
                Some(before) if first <= *before.end() => {
                    return Err(format!("`{part}` is not in ascending order"));
                }
                // `0,1` and `0-1` are the same set and have to compare as such.
                Some(before) if first == before.end() + 1 => *before = *before.start()..=last,
                _ => ranges.push(first..=last),
            }
        }
        Ok(Self { ranges })
    }

    /// How many CPUs are in the set.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.ranges.iter().fold(0, |sum: u32, range| {
            sum.saturating_add((range.end() - range.start()).saturating_add(1))
        })
    }

    /// The numbers, ascending.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.ranges.iter().cloned().flatten()
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, range) in self.ranges.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            if range.start() == range.end() {
                write!(f, "{comma}{}", range.start())?;
            } else {
                write!(f, "{comma}{}-{}", range.start(), range.end())?;
            }
        }
        Ok(())
    }
}
