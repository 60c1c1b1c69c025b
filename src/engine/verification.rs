//! Did it happen? Read back from the API *and* from the guest's kernel. A timeout means unknown:
//! read, do not repeat.

use super::cloud::{ApiFailure, FailureKind, Server};
use super::core::Engine;
use super::event::{EventKind, Loudness, Notice};
use super::policy::Unapplied;
use super::record::{Direction, Outcome};
use super::state::{Intent, LOCK_WINDOW, Seen, Stage};
use super::tell;
use super::time::Timestamp;
use super::trouble::poll_delay;
use std::time::Duration;

/// After a lost answer, an unlocked server that still shows the old count this long after the
/// edit did not get it.
const SETTLED: Duration = Duration::from_secs(30);
/// How long after the unlock the guest's CPUs may take to follow.
const GUEST_FOLLOWS: Duration = Duration::from_secs(30);
/// How often the guest's CPUs must stay as they were, in a row, before a direction is off.
const STAYED_OFTEN: u32 = 2;
/// How often the old count is posted back, where none of these edits arrives. While that is tried
/// nothing else is, and what it would save the down rule saves later.
const REVERTS: u32 = 10;
/// How much the wall clock may lose over a reset: the hardware's clock counts whole seconds.
const CLOCK_BEHIND_MS: i64 = 60_000;

impl Engine {
    pub(super) fn take_details(&mut self, now: Timestamp, server: Server, out: &mut Vec<Notice>) {
        if self.api.read.take().is_some() {
            out.push(tell::recovered("the API answers again"));
        }
        self.api.recheck = false;
        self.calm_edit_trouble(now, out);
        self.api.lock.read(now, server.locked);
        let count = server.cores;
        let locked = server.locked;
        self.api.seen = Some(Seen { at: now, server });
        self.settle_pending(count, out);
        if let Some(message) = self.api.forbidden.take()
            && !locked
        {
            let jitter = self.jitter();
            let failure = ApiFailure {
                kind: FailureKind::Credentials,
                retry_after: None,
                message,
            };
            self.not_permitted(now, &failure, jitter, out);
        }
        if let Some(intent) = &mut self.state.intent
            && intent.stage == Stage::Planned
            && intent.sent.is_some()
            && count == intent.target()
            && count != intent.base()
        {
            // It was said not to be done, and it was: ours, not somebody else's.
            intent.stage = Stage::Accepted;
            intent.answered = Some(now);
            self.api.edit = None;
        }
        if self
            .state
            .intent
            .as_ref()
            .is_some_and(|i| i.stage != Stage::Planned)
        {
            self.verify(now, count, locked, out);
        } else if self.state.known_cores != Some(count) {
            self.adopt(now, count, out);
        }
    }

    /// An outage during a change that is no longer wanted is over once the API answers again; a
    /// missing permission is not.
    fn calm_edit_trouble(&mut self, now: Timestamp, out: &mut Vec<Notice>) {
        let over = self.api.edit.as_ref().is_some_and(|trouble| {
            !trouble.kind.needs_operator() && trouble.retry_at(false).reached(now)
        });
        if over && self.state.intent.is_none() {
            self.api.edit = None;
            out.push(tell::recovered("the API answers again"));
        }
    }

    /// A raise that was pending ends when the guest shows it, or the API no longer asks for it.
    fn settle_pending(&mut self, count: u32, out: &mut Vec<Notice>) {
        let online = self.guest.map_or(0, |guest| guest.online);
        let learned = &mut self.state.raising;
        let Some(pending) = learned.pending else {
            return;
        };
        if pending != count {
            learned.pending = None;
        } else if online >= pending {
            learned.pending = None;
            let cores = tell::cores(pending);
            out.push(tell::recovered(&format!(
                "this VM has the {cores} that the API shows"
            )));
        }
    }

    /// Takes over a count that is not ours.
    fn adopt(&mut self, now: Timestamp, count: u32, out: &mut Vec<Notice>) {
        let before = self.state.known_cores.replace(count);
        if let Some(intent) = self.state.intent.take()
            && intent.asked.is_some()
        {
            let detail = format!("somebody else set {}", tell::cores(count));
            self.close(now, intent, Outcome::Superseded, detail, out);
        }
        // The first count ever seen is nobody's change.
        let Some(before) = before else {
            return;
        };
        self.overtake_trial(now, count);
        self.state.last_change = Some(now);
        let limits = &self.policy.limits;
        let outside = count < limits.min_cores || count > limits.max_cores;
        self.state.outside_since = outside.then_some(now);
        let mut text = format!(
            "somebody else changed {before} → {count} cores: adopted, the cooldowns begin anew"
        );
        if outside {
            text = format!(
                "somebody else changed {before} → {count} cores, outside the limits of {} to {}: left alone for {}",
                limits.min_cores,
                limits.max_cores,
                tell::span(self.policy.down.window),
            );
        }
        out.push(
            Notice::new(EventKind::ExternalChange, Loudness::Info, text).change(before, count),
        );
    }

    fn verify(&mut self, now: Timestamp, count: u32, locked: bool, out: &mut Vec<Notice>) {
        let guest = self.guest.unwrap_or_default();
        let Some(intent) = &mut self.state.intent else {
            return;
        };
        intent.next_poll = now.plus(poll_delay(intent.polls));
        intent.polls = intent.polls.saturating_add(1);
        let waited = intent.sent.map_or(Duration::ZERO, |sent| now.since(sent));
        let (target, base) = (intent.target(), intent.base());
        let overdue = waited >= self.policy.apply.timeout;
        if !locked && count == target && intent.unlocked.is_none() {
            intent.unlocked = Some(now);
        }
        // The kernel follows after the unlock, and is looked at once an interval: a lock as long
        // as the timeout must not make a late change one that failed.
        let grace = (self.policy.apply.timeout / 2)
            .min(GUEST_FOLLOWS)
            .max(self.policy.sampling.interval * 2);
        let guest_had_time = intent.unlocked.is_some_and(|at| now.since(at) >= grace);

        if count == target && intent.stage == Stage::Sent {
            // The answer was lost, the edit was not.
            intent.stage = Stage::Accepted;
            intent.answered = Some(now);
            self.api.edit = None;
        }
        if locked {
            if waited >= LOCK_WINDOW {
                let detail = format!("still locked after {}", tell::span(LOCK_WINDOW));
                self.give_up(now, count, detail, out);
            } else if overdue {
                self.say_overdue(now, count, "the server is still locked", out);
            }
        } else if count == target {
            if guest_shows(intent, guest.online) {
                self.settled(now, out);
            } else if overdue && guest_had_time {
                self.unapplied(now, guest, out);
            }
        } else if count == base {
            if intent.stage == Stage::Sent {
                // Nobody accepted it: however short `apply.timeout` is, that is no evidence
                // against the platform.
                if waited >= SETTLED && intent.polls >= 2 {
                    self.never_arrived(now, count, out);
                }
            } else if overdue {
                let detail = format!("the API accepted it and still shows {}", tell::cores(count));
                self.give_up(now, count, detail, out);
            }
        } else {
            self.superseded(now, count, out);
        }
    }

    fn settled(&mut self, now: Timestamp, out: &mut Vec<Notice>) {
        let Some(intent) = self.state.intent.take() else {
            return;
        };
        self.state.known_cores = Some(intent.target());
        let (outcome, detail) = if intent.reverting {
            (
                Outcome::Reverted,
                "the old count was posted back, since the new one was billed without being there"
                    .to_owned(),
            )
        } else {
            let evidence = self.took_effect(&intent);
            if evidence.is_ok() {
                self.state.learned_mut(intent.direction()).worked();
                if intent.direction() == Direction::Lowering {
                    self.state.lowering_proven = true;
                    self.state.trial.iter_mut().for_each(|t| t.lowered = true);
                }
            }
            let detail = evidence.err().unwrap_or_default();
            (Outcome::Applied, detail.to_owned())
        };
        self.close(now, intent, outcome, detail, out);
    }

    /// Whether a change that both witnesses show is evidence that the platform changes a running
    /// VM; else why it is none.
    fn took_effect(&self, intent: &Intent) -> Result<(), &'static str> {
        let guest = self.guest.unwrap_or_default();
        let before = (intent.guest_online, intent.guest_present);
        // `asked` is on this boot's clock: before the boot it is negative.
        if intent.rebooted {
            // It took effect, and no next one may: what the reboot taught stays.
            Err("the platform rebooted the VM for it")
        } else if intent.asked.is_some_and(|asked| asked.boottime_ms < 0) {
            Err("by a reboot of the VM")
        } else if (guest.online, guest.present) == before {
            Err("the VM had that many CPUs before")
        } else {
            Ok(())
        }
    }

    fn never_arrived(&mut self, now: Timestamp, count: u32, out: &mut Vec<Notice>) {
        let Some(mut intent) = self.state.intent.take() else {
            return;
        };
        if intent.reverting {
            // It is billed: post it once more, now that it is known not to be there.
            intent.stage = Stage::Planned;
            intent.planned = now;
            intent.lost = intent.lost.saturating_add(1);
            let lost = intent.lost;
            self.state.intent = Some(intent);
            if lost >= REVERTS {
                let detail =
                    format!("the old count could not be posted back: {lost} edits never arrived");
                self.give_up(now, count, detail, out);
            }
            return;
        }
        let detail = "the answer was lost, and the API shows that nothing changed".to_owned();
        self.close(now, intent, Outcome::Failed, detail, out);
    }

    fn superseded(&mut self, now: Timestamp, count: u32, out: &mut Vec<Notice>) {
        if let Some(intent) = self.state.intent.take() {
            self.state.known_cores = Some(intent.target());
            let detail = format!("somebody else set {}", tell::cores(count));
            self.close(now, intent, Outcome::Superseded, detail, out);
        }
        self.adopt(now, count, out);
    }

    /// Accepted and unlocked, the API shows the new count, the guest does not: after
    /// `apply.timeout` that is evidence.
    fn unapplied(
        &mut self,
        now: Timestamp,
        guest: super::sample::GuestCpus,
        out: &mut Vec<Notice>,
    ) {
        let ours = self.identity().is_ok();
        let Some(mut intent) = self.state.intent.take() else {
            return;
        };
        let direction = intent.direction();
        self.state.known_cores = Some(intent.target());
        if !ours {
            // A clone found it in the state of its original: nothing is to be learned or mended.
            let detail = "the server of this change is not known to be this machine".to_owned();
            return self.close(now, intent, Outcome::NotApplied, detail, out);
        }
        if intent.reverting {
            // The guest took the count after all while we posted the old one back. The API's is
            // the one that is billed, and it is the old one.
            let detail = format!(
                "the old count was posted back; the VM shows {} CPUs",
                guest.online
            );
            return self.close(now, intent, Outcome::Reverted, detail, out);
        }
        let stayed = guest.present == intent.guest_present;
        let mut detail = if stayed {
            format!(
                "the API shows {} cores, the VM still has {} CPUs",
                intent.to, guest.present
            )
        } else {
            format!(
                "the VM has {} CPUs of which {} are online: see the package's udev rule, or `echo 1 > /sys/devices/system/cpu/cpuN/online`",
                guest.present, guest.online
            )
        };
        let learned = self.state.learned_mut(direction);
        let pause = learned.back_off(now);
        learned.stayed = if stayed { learned.stayed + 1 } else { 0 };
        let off = learned.stayed >= STAYED_OFTEN;
        if off {
            let why = format!(
                "{STAYED_OFTEN} times in a row the API showed the new count and the VM's CPUs stayed"
            );
            learned.off = Some(why);
        }
        let revert = !self.dry_run
            && direction == Direction::Raising
            && self.policy.apply.unapplied == Unapplied::Revert;
        if direction == Direction::Raising && !revert {
            learned.pending = Some(intent.to);
        }
        if off {
            out.push(tell::direction_off(
                direction,
                self.state.learned(direction),
            ));
        } else {
            detail += &format!("; {} waits for {}", direction.as_str(), tell::span(pause));
        }
        if !revert {
            return self.close(now, intent, Outcome::NotApplied, detail, out);
        }
        if !intent.overdue {
            detail += "; the old count is posted back, since the new one is billed";
            out.push(tell::not_applied(&intent, &detail));
        }
        intent.overdue = true;
        intent.reverting = true;
        intent.stage = Stage::Planned;
        intent.planned = now;
        self.state.intent = Some(intent);
    }

    /// The time is up and it is not known how it will end: no more reading.
    fn give_up(&mut self, now: Timestamp, count: u32, detail: String, out: &mut Vec<Notice>) {
        let Some(intent) = self.state.intent.take() else {
            return;
        };
        let direction = intent.direction();
        let learned = self.state.learned_mut(direction);
        let pause = learned.back_off(now);
        if intent.reverting && count == intent.to {
            // Billed, and not to be had by raising further.
            learned.pending = Some(count);
        }
        self.state.known_cores = Some(count);
        let detail = format!(
            "{detail}; {} waits for {}",
            direction.as_str(),
            tell::span(pause)
        );
        self.close(now, intent, Outcome::NotApplied, detail, out);
    }

    fn say_overdue(&mut self, now: Timestamp, count: u32, what: &str, out: &mut Vec<Notice>) {
        if let Some(intent) = &mut self.state.intent
            && !intent.overdue
        {
            intent.overdue = true;
            let waited = intent.sent.map_or(Duration::ZERO, |sent| now.since(sent));
            let detail = format!(
                "not seen after {}: {what}, the API shows {}; reading goes on",
                tell::span(waited),
                tell::cores(count)
            );
            out.push(tell::not_applied(intent, &detail));
        }
    }

    /// At the begin of a run in another boot: did our edit reboot the VM?
    pub(super) fn judge_reboot(&mut self, now: Timestamp, stopped: bool, out: &mut Vec<Notice>) {
        let Some(intent) = &self.state.intent else {
            return;
        };
        let (Some(asked), true) = (intent.asked, intent.in_flight()) else {
            return;
        };
        // `asked` is on this boot's clock by now: before the boot it is negative, or a little
        // later where the wall clock came back slow. In the future, that clock says nothing.
        let to_boot = Duration::from_millis(asked.boottime_ms.min(0).unsigned_abs());
        let told = asked.boottime_ms < now.boottime_ms && asked.boottime_ms <= CLOCK_BEHIND_MS;
        if !told || to_boot > LOCK_WINDOW {
            return;
        }
        let direction = intent.direction();
        let id = intent.decision_id.clone();
        let why = format!(
            "the VM was rebooted {} after the change {} → {} was asked for, ",
            tell::span(to_boot),
            intent.from,
            intent.to
        );
        let learned = self.state.learned_mut(direction);
        if stopped {
            // A platform that presses the power button looks like a person who reboots. Once is
            // chance; a VM that is rebooted at every change must not go on so.
            let before = learned.shut_down.replace(id.clone());
            if before.is_none_or(|before| before == id) {
                return;
            }
            learned.off = Some(format!("{why}as at the change before it"));
        } else {
            learned.off = Some(format!("{why}with no shutdown from inside"));
        }
        if let Some(intent) = &mut self.state.intent {
            intent.rebooted = true;
        }
        out.push(tell::direction_off(
            direction,
            self.state.learned(direction),
        ));
    }
}

/// The guest's CPUs follow the change: the very count, or as many more or fewer as asked where
/// some were offline before.
fn guest_shows(intent: &Intent, online: u32) -> bool {
    if online == intent.target() {
        return true;
    }
    if intent.reverting {
        return online == intent.guest_online;
    }
    let moved = i64::from(online) - i64::from(intent.guest_online);
    moved == i64::from(intent.to) - i64::from(intent.from)
}
