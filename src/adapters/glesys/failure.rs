//! Errors sorted by what to do next, one row for each row of `glesys-api.md` section 5, and the
//! sentence that tells a person.

use crate::engine::cloud::FailureKind;
use std::fmt;
use std::net::IpAddr;

/// The functions that scaling needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// `server/details`
    Details,
    /// `server/edit` to this count of cores.
    Edit(u32),
    /// `server/allowedarguments`
    AllowedArguments,
}

impl Function {
    /// Its path, which is also the name of the permission in the control panel.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Function::Details => "server/details",
            Function::Edit(_) => "server/edit",
            Function::AllowedArguments => "server/allowedarguments",
        }
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path())
    }
}

/// What a refused call means.
///
/// `http` is the HTTP status, `code` and `text` are those of the envelope where there was one: two
/// numbers that may differ. The HTTP status decides, then the code, then the text.
#[must_use]
pub fn sort(function: Function, http: u16, code: Option<i64>, text: &str) -> FailureKind {
    let names_lock = names_lock(text);
    match (decisive(http, code), code) {
        (401, _) => FailureKind::Credentials,
        (403, _) if names_lock => FailureKind::Locked,
        (403, _) => FailureKind::Forbidden,
        (404 | 405 | 419, _) => FailureKind::Configuration,
        (423, _) => FailureKind::Locked,
        (429 | 503, _) => FailureKind::Unavailable,
        // Recorded: HTTP 500, code 606, "Server Locked" (rec 7).
        (400 | 409 | 500.., _) | (_, Some(601..=699)) if names_lock => FailureKind::Locked,
        (_, Some(608)) => FailureKind::ApplyFailed,
        (_, Some(610)) => FailureKind::InvalidValue,
        (_, Some(617)) => FailureKind::NoRoom,
        (_, Some(618)) => FailureKind::AccountLimit,
        (_, Some(619)) => FailureKind::HypervisorDown,
        (400, _) if names_unknown_server(text) => FailureKind::Configuration,
        (400, _) => match function {
            Function::Edit(_) => FailureKind::InvalidValue,
            // A read sends only the server id: a value that is refused is that one.
            Function::Details | Function::AllowedArguments => FailureKind::Configuration,
        },
        _ => FailureKind::Unknown,
    }
}

/// The status that decides: the code where HTTP says no more than "done" or "failed".
fn decisive(http: u16, code: Option<i64>) -> u16 {
    match (http, code) {
        (200 | 500, Some(code @ 400..=599)) => u16::try_from(code).unwrap_or(http),
        _ => http,
    }
}

/// Whether a text says that something is locked. Only whole words: an address may be "blocked".
fn names_lock(text: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric())
        .any(|word| word.eq_ignore_ascii_case("locked") || word.eq_ignore_ascii_case("lock"))
}

fn names_unknown_server(text: &str) -> bool {
    text.trim()
        .to_ascii_lowercase()
        .contains("could not find server")
}

/// What an answer said, ready to be printed.
#[derive(Debug)]
pub struct Refusal<'a> {
    /// The function that was called.
    pub function: Function,
    /// The HTTP status.
    pub http: u16,
    /// `status.code` of the envelope.
    pub code: Option<i64>,
    /// The server's own words: one line, short, without the key.
    pub text: &'a str,
    /// `Location`, likewise.
    pub location: Option<&'a str>,
    /// The address that this machine called from, where it is known.
    pub source: Option<IpAddr>,
    /// `server_id` and `project` as configured.
    pub server_id: &'a str,
    /// See `server_id`.
    pub project: &'a str,
}

impl Refusal<'_> {
    /// One line for a person: the function, what was said, and what mends it.
    #[must_use]
    pub fn message(&self, kind: FailureKind) -> String {
        let said = self.said();
        let function = self.function;
        let meaning = match kind {
            FailureKind::Credentials | FailureKind::Forbidden => self.permission(),
            FailureKind::Configuration => self.configuration(),
            FailureKind::Locked => {
                "the server is locked while a change is under way; wait until it is unlocked"
                    .to_owned()
            }
            FailureKind::InvalidValue => match function {
                Function::Edit(cores) => format!("{cores} cores are refused; choose another count"),
                _ => "a value is refused".to_owned(),
            },
            FailureKind::ApplyFailed => "the provider could not apply the change".to_owned(),
            FailureKind::NoRoom => {
                "the hypervisor has no room for it; wait, or try a smaller step".to_owned()
            }
            FailureKind::AccountLimit => {
                "the limit of a test account is reached; ask Glesys to raise it".to_owned()
            }
            FailureKind::HypervisorDown => {
                "the hypervisor cannot be reached by the provider; wait".to_owned()
            }
            FailureKind::Unavailable => "the API takes no calls now; wait".to_owned(),
            FailureKind::Unknown => self.unknown(),
        };
        let outcome = match kind {
            FailureKind::Unknown => outcome(function),
            _ => "",
        };
        format!("{function}: {meaning} ({said}){outcome}")
    }

    fn said(&self) -> String {
        let mut said = format!("HTTP {}", self.http);
        if let Some(code) = self.code
            && code != i64::from(self.http)
        {
            said.push_str(&format!(", code {code}"));
        }
        if !self.text.is_empty() {
            said.push_str(&format!(", \"{}\"", self.text));
        }
        said
    }

    /// 401 and 403 do not tell apart a wrong key, an address that is not listed and a function
    /// that is not permitted, so neither can the message.
    fn permission(&self) -> String {
        let from = self.source.map_or_else(String::new, |address| {
            format!("; this call left from {address}, behind NAT the gateway's address counts")
        });
        format!(
            "the API refuses the call: the key or the project {} is wrong or the key has expired, \
             or the key's address list lacks the address of this machine{from}, or the key may \
             not use {}; see the API keys in the Glesys control panel",
            self.project, self.function
        )
    }

    fn configuration(&self) -> String {
        match decisive(self.http, self.code) {
            405 => "the provider does not allow this for the server: it is a managed server, or api.url is wrong".to_owned(),
            419 => "the provider does not allow this for this type of account".to_owned(),
            _ if names_unknown_server(self.text) => format!(
                "there is no server {} in the project {}; check api.server_id and api.project",
                self.server_id, self.project
            ),
            404 => format!(
                "not found; check api.url, and api.server_id ({})",
                self.server_id
            ),
            _ => format!(
                "the call is refused; check api.server_id ({}) and api.project ({})",
                self.server_id, self.project
            ),
        }
    }

    fn unknown(&self) -> String {
        match (self.http, self.location) {
            (300..=399, Some(to)) => format!(
                "the API answers with a redirect to {to}, which is never followed; put the final address into api.url"
            ),
            (300..=399, None) => {
                "the API answers with a redirect, which is never followed; check api.url".to_owned()
            }
            (500.., _) => "the API failed".to_owned(),
            _ => "the API gave an answer that is neither a success nor a known error".to_owned(),
        }
    }
}

/// What follows from an outcome that nobody knows.
#[must_use]
pub fn outcome(function: Function) -> &'static str {
    match function {
        Function::Edit(_) => "; the change may have been made: details are read before any new one",
        Function::Details | Function::AllowedArguments => "",
    }
}
