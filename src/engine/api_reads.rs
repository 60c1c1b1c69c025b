//! When the API is read: the server, and the counts that its platform allows.

use super::core::Engine;
use super::gate::Outlook;
use super::state::Stage;
use super::time::Timestamp;
use std::time::Duration;

/// An idle daemon reads the server this often: a key that was withdrawn, or a count that
/// somebody changed without an effect in the guest, does not stay unseen.
const READ_IDLE: Duration = Duration::from_secs(3600);
/// How old the API's answer may be when an edit builds on it.
const READ_FRESH: Duration = Duration::from_secs(30);
/// How long the API may take to show what the guest shows already: it is read again meanwhile, so
/// that no hour is spent on the count of before.
const API_FOLLOWS: Duration = Duration::from_secs(300);

impl Engine {
    pub(super) fn allowed_due(&self, now: Timestamp) -> bool {
        self.allowed_unasked(now)
            || self.may_ask_allowed(now) && self.api.allowed_due.is_some_and(|at| at.reached(now))
    }

    /// The counts were not asked for in this run, or one of them was refused since.
    pub(super) fn allowed_unasked(&self, now: Timestamp) -> bool {
        self.may_ask_allowed(now) && self.api.allowed_due.is_none()
    }

    /// The server answers, and did not say to wait with this very call.
    fn may_ask_allowed(&self, now: Timestamp) -> bool {
        let may = |at: Timestamp| at.reached(now);
        self.api.seen.is_some()
            && self.api.read.is_none()
            && self.api.allowed_not_before.is_none_or(may)
    }

    /// Whether the API was read after `since`, and recently enough to edit on it.
    pub(super) fn read_since(&self, since: Timestamp, now: Timestamp) -> bool {
        self.api.seen.as_ref().is_some_and(|seen| {
            since.reached(seen.at) && now.since(seen.at) <= READ_FRESH && self.api.read.is_none()
        })
    }

    /// When `server/details` is to be read next.
    pub(super) fn read_due(&self, now: Timestamp, outlook: &Outlook) -> Option<Timestamp> {
        let retry = self
            .api
            .read
            .as_ref()
            .map(|t| t.retry_at(outlook.overloaded()));
        let Some(seen) = &self.api.seen else {
            return Some(retry.unwrap_or(now));
        };
        let due = match &self.state.intent {
            Some(intent) if intent.stage != Stage::Planned => intent.next_poll,
            Some(intent) if seen.server.locked => {
                let look_at = self.api.lock.look_at(outlook.overloaded());
                look_at.later(intent.next_poll)
            }
            // Posting back waits for a proof, perhaps for good, as with a clone that was made then.
            Some(intent)
                if intent.reverting
                    && !self.api.recheck
                    && (self.dry_run || self.identity().is_err()) =>
            {
                seen.at.plus(READ_IDLE)
            }
            Some(intent) if !self.read_since(intent.planned, now) => {
                let edit = self
                    .api
                    .edit
                    .as_ref()
                    .map(|t| t.retry_at(outlook.overloaded()));
                edit.unwrap_or(now)
            }
            Some(_) => return retry,
            None if self.api.recheck => now,
            None if self.api_is_behind(now) => seen.at.plus(READ_FRESH),
            None if seen.server.locked && outlook.wish.decision.is_some() => {
                self.api.lock.look_at(outlook.overloaded())
            }
            None => seen.at.plus(READ_IDLE),
        };
        Some(retry.map_or(due, |at| at.later(due)))
    }

    /// The guest's CPUs changed a short while ago, and the API does not show it.
    fn api_is_behind(&self, now: Timestamp) -> bool {
        let lately = |at: Timestamp| now.since(at) < API_FOLLOWS;
        self.api.guest_changed.is_some_and(lately)
            && self.api.seen.as_ref().map(|seen| seen.server.cores)
                != self.guest.map(|guest| guest.online)
    }
}
