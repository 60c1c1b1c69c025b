//! Injected faults: what can go wrong between a client and the service.

use super::access::AUTHENTICATION_FAILED;
use super::function::Function;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// One way for a call to go wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The connection closes without an answer, nothing was done.
    DropBefore,
    /// The connection closes without an answer, the call was carried out.
    DropAfter,
    /// Nothing happens for this long, then the call is carried out. A client that gives up within
    /// that time gets nothing done.
    DelayBefore(Duration),
    /// The call is carried out, and answered this much later.
    DelayAfter(Duration),
    /// A refusal; nothing was done.
    Refusal {
        /// HTTP status.
        http: u16,
        /// `status.code`.
        code: u16,
        /// `status.text`.
        text: String,
        /// The header `Retry-After`, in seconds.
        retry_after: Option<u64>,
    },
    /// The call is carried out, but a proxy answers with a page of its own and this HTTP status.
    HtmlBody(u16),
    /// The call is carried out; half of the answer comes, then the connection closes.
    CutBody,
    /// The call is carried out; the answer has no body.
    EmptyBody,
    /// The call is carried out; the body never ends.
    EndlessBody,
}

impl Fault {
    /// A refusal with one number for HTTP status and code.
    #[must_use]
    pub fn http(status: u16, text: &str) -> Self {
        Self::refusal(status, status, text)
    }

    /// A refusal with HTTP 500 and one of the service's own codes \[doc 14; the 500 is inf\].
    #[must_use]
    pub fn code(code: u16, text: &str) -> Self {
        Self::refusal(500, code, text)
    }

    fn refusal(http: u16, code: u16, text: &str) -> Self {
        Self::Refusal {
            http,
            code,
            text: text.to_owned(),
            retry_after: None,
        }
    }

    /// 401: bad or expired key \[rec 11\].
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::http(401, AUTHENTICATION_FAILED)
    }

    /// 400: a value that is not legal \[doc 14\].
    #[must_use]
    pub fn invalid_value() -> Self {
        Self::http(400, "Invalid value for cpucores.")
    }

    /// 405: a managed server \[doc 14\].
    #[must_use]
    pub fn managed_server() -> Self {
        Self::http(405, "This server is managed, contact support.")
    }

    /// 419: the wrong type of account \[doc 14\].
    #[must_use]
    pub fn wrong_account() -> Self {
        Self::http(419, "Not available for this type of account.")
    }

    /// 608: applying failed \[doc 14\].
    #[must_use]
    pub fn apply_failed() -> Self {
        Self::code(608, "Could not edit the server.")
    }

    /// 610: the template or an option refuses \[doc 14\].
    #[must_use]
    pub fn option_refused() -> Self {
        Self::code(610, "The template does not support this option.")
    }

    /// 617: the hypervisor has no room \[doc 14\].
    #[must_use]
    pub fn no_room() -> Self {
        Self::code(617, "Not enough memory on the host.")
    }

    /// 618: the limit of the account \[doc 14\].
    #[must_use]
    pub fn account_limit() -> Self {
        Self::code(618, "The limit of the test account is reached.")
    }

    /// 619: the hypervisor cannot be reached \[doc 14\].
    #[must_use]
    pub fn hypervisor_down() -> Self {
        Self::code(619, "Could not connect to the host.")
    }

    /// 429, with `Retry-After` in seconds where given.
    #[must_use]
    pub fn too_many_requests(retry_after: Option<u64>) -> Self {
        Self::busy(429, "Too many requests.", retry_after)
    }

    /// 503, with `Retry-After` in seconds where given.
    #[must_use]
    pub fn unavailable(retry_after: Option<u64>) -> Self {
        Self::busy(503, "Service unavailable.", retry_after)
    }

    fn busy(status: u16, text: &str, retry_after: Option<u64>) -> Self {
        Self::Refusal {
            http: status,
            code: status,
            text: text.to_owned(),
            retry_after,
        }
    }
}

/// How many calls a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// The next so many.
    Next(u32),
    /// All, until [`Handle::clear_faults`](super::Handle::clear_faults).
    Always,
}

/// The faults that wait for their calls: for each function one after the other.
#[derive(Debug, Default)]
pub(super) struct Faults(HashMap<Function, VecDeque<(Fault, Times)>>);

impl Faults {
    pub(super) fn inject(&mut self, function: Function, fault: Fault, times: Times) {
        self.0
            .entry(function)
            .or_default()
            .push_back((fault, times));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault for a call that has just come in.
    pub(super) fn take(&mut self, function: Function) -> Option<Fault> {
        let queue = self.0.get_mut(&function)?;
        while let Some((fault, times)) = queue.front_mut() {
            match times {
                Times::Always => return Some(fault.clone()),
                Times::Next(0) => {
                    queue.pop_front();
                }
                Times::Next(left) => {
                    *left -= 1;
                    return Some(fault.clone());
                }
            }
        }
        None
    }
}
