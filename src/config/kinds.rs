//! The kinds of values that a key can take.

use super::Config;
use super::duration::{Dur, DurError};
use super::slot::{Fault, Kind, Slot, Written, shortened, shown};
use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeValue;

fn string<'a>(written: &'a Written<'_>) -> Result<&'a str, Vec<Fault>> {
    let found = written.get_ref();
    found.as_str().ok_or_else(|| {
        let fault = Fault::wrong_type(written);
        vec![match found {
            DeValue::Array(_) | DeValue::Table(_) => fault,
            value => fault.help(format!("write it in quotes: \"{}\"", shown(value))),
        }]
    })
}

/// TOML's basic string.
fn toml_string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// The name of a project or a server. Both end up in requests, where a colon would end a user
/// name, so only what such names are made of passes.
pub(super) struct Name;

impl Kind for Name {
    type Value = String;

    fn read(&self, written: &Written<'_>) -> Result<String, Vec<Fault>> {
        let text = string(written)?;
        if text.contains(':') {
            // As `curl -u` takes it: most likely the key follows the colon.
            let help = "the key goes into the file that api.key_file names, not here";
            return Err(vec![
                Fault::new(written, "more than a name").secret().help(help),
            ]);
        }
        if text.is_empty() {
            return Err(vec![Fault::new(written, "empty")]);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.@+".contains(c);
        if text.len() > 64 || !text.chars().all(allowed) {
            return Err(vec![Fault::new(written, "not a name")]);
        }
        Ok(text.to_owned())
    }

    fn write(&self, value: &String) -> String {
        toml_string(value)
    }

    fn allowed(&self) -> String {
        "1 to 64 letters, digits and -_.@+, no spaces".to_owned()
    }
}

/// The address of the API.
pub(super) struct ApiUrl;

impl ApiUrl {
    fn check(text: &str) -> Result<url::Url, &'static str> {
        let url = url::Url::parse(text).map_err(|_| "not an address")?;
        let loopback = match url.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
            Some(url::Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
            None => false,
        };
        match url.scheme() {
            // Its parser drops or mends these silently; what is called should be what is written.
            _ if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') => {
                Err("not an address")
            }
            _ if !url.username().is_empty() || url.password().is_some() => {
                Err("a user name or password in the address")
            }
            _ if url.query().is_some() || url.fragment().is_some() => {
                Err("a query or fragment in the address")
            }
            "https" => Ok(url),
            "http" if loopback => Ok(url),
            "http" => Err("the key would be sent unencrypted"),
            _ => Err("neither https nor http"),
        }
    }
}

impl Kind for ApiUrl {
    type Value = String;

    fn read(&self, written: &Written<'_>) -> Result<String, Vec<Fault>> {
        let text = string(written)?;
        match ApiUrl::check(text) {
            Ok(url) => Ok(url.as_str().trim_end_matches('/').to_owned()),
            Err(problem) if text.contains('@') => {
                let help =
                    "the project is api.project, the key is in the file that api.key_file names";
                Err(vec![Fault::new(written, problem).secret().help(help)])
            }
            Err(problem) => Err(vec![Fault::new(written, problem)]),
        }
    }

    fn write(&self, value: &String) -> String {
        toml_string(value)
    }

    fn allowed(&self) -> String {
        "https://HOST[:PORT][/PATH]; http:// only to this machine (127.0.0.1, [::1], localhost)"
            .to_owned()
    }
}

/// A path. It has to look like one.
pub(super) struct FilePath {
    /// People may paste the key itself where the path of its file belongs. It is caught here,
    /// before some later message says that there is no file of that name.
    pub of_key: bool,
}

impl Kind for FilePath {
    type Value = PathBuf;

    fn read(&self, written: &Written<'_>) -> Result<PathBuf, Vec<Fault>> {
        let text = string(written)?;
        if text.contains(char::is_control) {
            return Err(vec![Fault::new(written, "not a path")]);
        }
        if !["/", "./", "../"]
            .iter()
            .any(|start| text.starts_with(start))
        {
            let problem = if text.is_empty() {
                "empty"
            } else {
                "not a path"
            };
            let fault = Fault::new(written, problem);
            return Err(vec![if self.of_key { fault.secret() } else { fault }]);
        }
        Ok(text.into())
    }

    fn write(&self, value: &PathBuf) -> String {
        toml_string(&value.to_string_lossy())
    }

    fn allowed(&self) -> String {
        "a path that begins with / or ./".to_owned()
    }
}

/// A path, or none.
pub(super) struct MaybePath;

impl MaybePath {
    const PATH: FilePath = FilePath { of_key: false };
}

impl Kind for MaybePath {
    type Value = Option<PathBuf>;

    fn read(&self, written: &Written<'_>) -> Result<Option<PathBuf>, Vec<Fault>> {
        match written.get_ref().as_str() {
            Some("") => Ok(None),
            _ => Self::PATH.read(written).map(Some),
        }
    }

    fn write(&self, value: &Option<PathBuf>) -> String {
        value
            .as_ref()
            .map_or("\"\"".to_owned(), |path| Self::PATH.write(path))
    }

    fn allowed(&self) -> String {
        format!("{}, or \"\" for none", Self::PATH.allowed())
    }
}

/// A whole number.
pub(super) struct Count(pub RangeInclusive<u32>);

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
pub(super) struct Counts(pub Count);

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
pub(super) struct Number {
    pub unit: &'static str,
    pub per_one: f64,
    pub range: RangeInclusive<f64>,
    /// What a fault below 1 most likely is, where 1 is the least.
    pub below: Option<&'static str>,
}

/// A percentage in the file, a share from 0 to 1 in the program.
pub(super) const fn percent(least: u8) -> Number {
    Number {
        unit: "a percentage",
        per_one: 100.0,
        range: least as f64..=100.0,
        below: Some("this is a percentage: 90 means 90 %, 0.9 would be less than one"),
    }
}

/// A plain factor.
pub(super) const fn factor(range: RangeInclusive<f64>) -> Number {
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
pub(super) struct Lasting {
    pub ms: RangeInclusive<u64>,
    /// Zero too, and what it means then.
    pub zero: Option<&'static str>,
}

/// A duration between bounds, in milliseconds.
pub(super) const fn lasting(ms: RangeInclusive<u64>) -> Lasting {
    Lasting { ms, zero: None }
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
        let dur = |ms: &u64| Dur(Duration::from_millis(*ms));
        let range = format!(
            "a duration from {} to {}",
            dur(self.ms.start()),
            dur(self.ms.end())
        );
        match self.zero {
            Some(meaning) => format!("{range}, or \"0s\": {meaning}"),
            None => range,
        }
    }
}

/// `true` or `false`.
pub(super) struct Flag;

impl Kind for Flag {
    type Value = bool;

    fn read(&self, written: &Written<'_>) -> Result<bool, Vec<Fault>> {
        let found = written.get_ref();
        found
            .as_bool()
            .ok_or_else(|| vec![Fault::wrong_type(written)])
    }

    fn write(&self, value: &bool) -> String {
        value.to_string()
    }

    fn allowed(&self) -> String {
        "true or false".to_owned()
    }
}

/// One of a few words.
pub(super) struct Words<'a, T>(pub &'a [(&'a str, T)]);

impl<T: Copy + PartialEq + Sync> Kind for Words<'_, T> {
    type Value = T;

    fn read(&self, written: &Written<'_>) -> Result<T, Vec<Fault>> {
        let text = string(written)?;
        self.0
            .iter()
            .find_map(|(word, meaning)| (*word == text).then_some(*meaning))
            .ok_or_else(|| vec![Fault::new(written, "no such choice")])
    }

    fn write(&self, value: &T) -> String {
        let word = self
            .0
            .iter()
            .find_map(|(word, meaning)| (meaning == value).then_some(*word));
        toml_string(word.unwrap_or_default())
    }

    fn allowed(&self) -> String {
        one_of(self.0.iter().map(|(word, _)| word))
    }
}

/// A word that has no alternative yet, and so no field.
pub(super) struct Only(pub &'static str);

impl Slot for Only {
    fn read(&self, written: &Written<'_>, _into: &mut Config) -> Result<(), Vec<Fault>> {
        Words(&[(self.0, ())]).read(written)
    }

    fn write(&self, _from: &Config) -> String {
        toml_string(self.0)
    }

    fn allowed(&self) -> String {
        one_of([self.0])
    }
}

fn one_of(words: impl IntoIterator<Item = impl Display>) -> String {
    let quoted: Vec<_> = words
        .into_iter()
        .map(|word| format!("\"{word}\""))
        .collect();
    quoted.join(", ")
}
