//! `check --prove-lowering`: one step down now, and back, by the running daemon or, where there is
//! none, by the same loop in this process.

use super::super::run::{REQUESTS, Shell, api_is_loopback, real_sampler, serve_requests};
use super::super::{CheckArgs, Exit, complain, place};
use super::report::{Answer, Report, ask, say};
use super::{Found, all_steps, conclude};
use crate::adapters::control::{self, Ask};
use crate::config;
use crate::engine::Status;
use crate::engine::policy::Mode;
use crate::engine::state::TrialResult;
use crate::ports::Notifier;
use crate::runtime::{Operator, Request};
use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Between two looks at the daemon.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A daemon that is restarted comes back within this time; the trial goes on then.
const AWAY: Duration = Duration::from_secs(120);
/// The loop in this process reads the API at once; it does not wait for it longer.
const UNREAD: Duration = Duration::from_secs(120);
/// The guest is looked at this often, since it is a witness.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);

pub async fn run(config_file: Option<&Path>, args: &CheckArgs) -> Exit {
    let dir = match place::runtime_dir_of(config_file) {
        Ok(dir) => dir,
        Err(error) => {
            complain(error);
            return Exit::Configuration;
        }
    };
    match control::ask(&dir, &Ask::Status) {
        Ok(Some(status)) => {
            let mode = config::load(place::policy_file(config_file))
                .ok()
                .map(|config| config.policy.apply.lowering);
            by_the_daemon(&dir, &status, mode, args.yes).await
        }
        Ok(None) => by_ourselves(config_file, args).await,
        Err(why) => {
            complain(why);
            Exit::Failed
        }
    }
}

/// Says what will happen and asks. `Err`: how the command ends without a trial.
fn agreed(steps: &str, yes: bool) -> Result<(), Exit> {
    say(format_args!(
        "This tries now what a lowering does to this VM: {steps}, through the Glesys API. It takes \
         some minutes, since the platform locks the server for each change.\n\
         Nobody has said what the platform does with a lowering of a running VM: it may do it \
         live, leave it for the next reboot, or REBOOT THE VM. In the last case this command ends \
         with the VM; the daemon gives the cores back once it runs again, and `glesys-autoscaler \
         check` tells how it went."
    ));
    match ask("Try it now?", yes) {
        Answer::Yes => Ok(()),
        Answer::No => {
            say("not tried");
            Err(Exit::Failed)
        }
        Answer::NoTerminal => {
            complain("not tried: there is no terminal to ask on; add --yes to try it unasked");
            Err(Exit::Failed)
        }
    }
}

async fn by_the_daemon(dir: &Path, status: &Status, mode: Option<Mode>, yes: bool) -> Exit {
    let mut progress = Progress::default();
    let begun = if status.trial {
        say("a trial is under way already; this watches it");
        Ok(Some(status.clone()))
    } else {
        if let Err(exit) = agreed(&foreseen(status), yes) {
            return exit;
        }
        control::ask(dir, &Ask::Prove)
    };
    let mut status = match begun {
        Ok(Some(status)) => status,
        Ok(None) => {
            complain("the daemon has ended: run this again");
            return Exit::Failed;
        }
        Err(why) => {
            complain(why);
            return Exit::Failed;
        }
    };
    let mut seen = Instant::now();
    while status.trial {
        progress.show(&status);
        tokio::time::sleep(LOOK_EVERY).await;
        match control::ask(dir, &Ask::Status) {
            Ok(Some(now)) => {
                status = now;
                seen = Instant::now();
            }
            Ok(None) | Err(_) if seen.elapsed() < AWAY => {}
            Ok(None) | Err(_) => {
                complain(
                    "the daemon does not answer any more: the trial goes on at its next start, and `glesys-autoscaler check` tells how it went",
                );
                return Exit::Failed;
            }
        }
    }
    tell(&status, mode)
}

/// The daemon knows the platform's counts, this command does not.
fn foreseen(status: &Status) -> String {
    let cores = status.cores;
    if cores > status.min_cores {
        format!("from {cores} cores down to the next count, and back to {cores}")
    } else {
        format!(
            "from {cores}, its minimum, up to the next count, and back down to {cores}: the way back is what counts"
        )
    }
}

async fn by_ourselves(config_file: Option<&Path>, args: &CheckArgs) -> Exit {
    let mut report = Report::default();
    let found = all_steps(place::policy_file(config_file), args, &mut report).await;
    let exit = conclude(&report);
    let (Some(found), Exit::Done) = (found, exit) else {
        say("lowering is not tried before that is mended");
        return match exit {
            Exit::Done => Exit::Failed,
            exit => exit,
        };
    };
    let cores = found.server.cores;
    let counts = &found.counts;
    let steps = match (counts.below(cores), counts.above(cores)) {
        (Some(below), _) if counts.as_slice().contains(&cores) => {
            format!("from {cores} to {below} cores, and back to {cores}")
        }
        (Some(below), _) => {
            format!("from {cores} to {below} cores, where it stays: {cores} is outside the limits")
        }
        (None, Some(above)) => format!(
            "from {cores}, its minimum, to {above} cores, and back to {cores}: the way back is what counts"
        ),
        (None, None) => {
            say("there is no other count to try: see limits and platform");
            return Exit::Failed;
        }
    };
    say("no daemon is running: this command does it itself");
    match agreed(&steps, args.yes) {
        Ok(()) => in_process(found).await,
        Err(exit) => exit,
    }
}

async fn in_process(found: Found) -> Exit {
    let Found {
        mut config, api, ..
    } = found;
    let mode = config.policy.apply.lowering;
    // The trial and nothing else: what the policy wants is for the daemon to do, once it is started.
    config.policy.apply.raising = Mode::Never;
    config.policy.apply.lowering = Mode::Never;
    config.policy.sampling.interval = config.policy.sampling.interval.min(SAMPLE_EVERY);
    let sampler = real_sampler(&config.policy.sampling);
    let (requests, inbox) = mpsc::channel(REQUESTS);
    let watch = RefCell::new(Watch::new(requests.clone()));
    let shell = Shell {
        state_dir: place::state_dir(&config),
        runtime_dir: place::runtime_dir(&config),
        dry_run: false,
        loopback_api: api_is_loopback(&config.api.url),
        config,
        reload: Box::new(|| {
            Err("a trial of lowering runs by the policy that it began with".to_owned())
        }),
        done: Box::new(|status| watch.borrow_mut().over(status)),
    };
    let exit = serve_requests(shell, sampler, Silent, &api, (requests, inbox)).await;
    if exit != Exit::Done {
        return exit;
    }
    match watch.into_inner().end {
        Some(status) => tell(&status, Some(mode)),
        None => {
            complain(
                "stopped before the trial was over: the daemon goes on with it when it is started, and gives the cores back",
            );
            Exit::Failed
        }
    }
}

/// Tells the loop in this process to begin, and when it is over.
struct Watch {
    requests: mpsc::Sender<Request>,
    asked: Option<oneshot::Receiver<Box<Status>>>,
    accepted: bool,
    began: Instant,
    progress: Progress,
    end: Option<Status>,
}

impl Watch {
    fn new(requests: mpsc::Sender<Request>) -> Watch {
        Watch {
            requests,
            asked: None,
            accepted: false,
            began: Instant::now(),
            progress: Progress::default(),
            end: None,
        }
    }

    fn over(&mut self, status: &Status) -> bool {
        if let Some(reply) = &mut self.asked {
            self.accepted |= reply.try_recv().is_ok();
        } else if status.cores_known && status.guest.is_some() {
            let (reply, asked) = oneshot::channel();
            let request = Request::Operator(Operator::Prove, reply);
            if self.requests.try_send(request).is_ok() {
                self.asked = Some(asked);
            }
        }
        if self.accepted && status.trial {
            self.progress.show(status);
        }
        let unread = !self.accepted && self.began.elapsed() >= UNREAD;
        if unread || (self.accepted && !status.trial) {
            self.end = Some(status.clone());
        }
        self.end.is_some()
    }
}

/// Says once each what the trial does or waits for.
#[derive(Default)]
struct Progress {
    last: String,
}

impl Progress {
    fn show(&mut self, status: &Status) {
        let line = match (&status.in_flight, status.waits_for) {
            (Some(intent), _) if intent.overdue => format!(
                "{} → {} cores: not seen in time; reading goes on",
                intent.from, intent.to
            ),
            (Some(intent), _) if intent.in_flight() => format!(
                "{} → {} cores: asked for; waiting until the API and the kernel both show it",
                intent.from, intent.to
            ),
            (_, Some(gate)) if status.wants.is_some() => format!("waiting: {}", gate.as_str()),
            _ => return,
        };
        if line != self.last {
            say(&line);
            self.last = line;
        }
    }
}

/// What happened, in plain words, and what follows from it.
fn tell(status: &Status, mode: Option<Mode>) -> Exit {
    let Some(TrialResult { proven, text, .. }) = &status.last_trial else {
        let why = status.api_trouble.as_deref().unwrap_or("it did not begin");
        say(format_args!("✗ lowering was not tried: {why}"));
        return Exit::Failed;
    };
    let mark = if *proven { '✓' } else { '✗' };
    say(format_args!("{mark} {text}"));
    if let Some(why) = &status.lowering.off {
        say(format_args!(
            "lowering is switched off: {why}; `glesys-autoscaler resume --lowering` forgets that"
        ));
    }
    say(consequence(*proven, mode));
    if *proven { Exit::Done } else { Exit::Failed }
}

fn consequence(proven: bool, mode: Option<Mode>) -> &'static str {
    match (mode, proven) {
        (Some(Mode::Ask), true) => "from now on the daemon lowers when the policy says so",
        (Some(Mode::Ask), false) => {
            "the daemon goes on without lowering (apply.lowering = \"ask\"); try again when the cause is mended"
        }
        (Some(Mode::Learn), true) => {
            "the daemon lowers when the policy says so, as before (apply.lowering = \"learn\")"
        }
        (Some(Mode::Learn), false) => {
            "apply.lowering = \"learn\": the daemon tries again when the policy says so, until it has evidence against it"
        }
        (Some(Mode::Always), true) => {
            "the daemon lowers when the policy says so, as before (apply.lowering = \"always\")"
        }
        (Some(Mode::Always), false) => {
            "apply.lowering = \"always\": the daemon lowers all the same when the policy says so; \"ask\" or \"never\" stops that"
        }
        (Some(Mode::Never), _) => {
            "apply.lowering = \"never\": nothing is lowered, whatever the trial showed, until that is changed"
        }
        (None, true) => {
            "from now on the daemon lowers when its policy says so, unless apply.lowering is \"never\""
        }
        (None, false) => "where apply.lowering is \"ask\", the daemon goes on without lowering",
    }
}

/// No service manager started this.
struct Silent;

impl Notifier for Silent {
    fn ready(&self) {}
    fn watchdog(&self) {}
    fn watchdog_interval(&self) -> Option<Duration> {
        None
    }
    fn status(&self, _line: &str) {}
    fn stopping(&self) {}
}
