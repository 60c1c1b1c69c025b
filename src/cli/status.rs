//! `status`: what the running daemon sees, wants, may, and waits for.

use super::{Exit, complain, place};
use crate::adapters::control::{self, Ask};
use crate::engine::{Status, span};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

pub fn run(config: Option<&Path>, json: bool, watch: bool) -> Exit {
    let dir = match place::runtime_dir_of(config) {
        Ok(dir) => dir,
        Err(error) => {
            complain(error);
            return Exit::Configuration;
        }
    };
    loop {
        let status = match control::ask(&dir, &Ask::Status) {
            Ok(Some(status)) => status,
            Ok(None) => {
                complain(format_args!(
                    "no daemon is running (no socket in {}); `systemctl status glesys-autoscaler` tells why",
                    dir.display()
                ));
                return Exit::Failed;
            }
            Err(why) => {
                complain(why);
                return Exit::Failed;
            }
        };
        let mut text = if json {
            serde_json::to_string(&status).unwrap_or_default()
        } else {
            in_words(&status)
        };
        if watch && !json && std::io::stdout().is_terminal() {
            text.insert_str(0, "\x1b[H\x1b[J");
        }
        if writeln!(std::io::stdout(), "{text}").is_err() || !watch {
            return Exit::Done;
        }
        std::thread::sleep(Duration::from_secs(2));
    }
}

fn in_words(status: &Status) -> String {
    let mut rows: Vec<(&str, String)> = Vec::new();
    let cores = match status.guest {
        Some(guest) => format!(
            "{} (limits {} to {}); the kernel has {} online of {} present",
            status.cores, status.min_cores, status.max_cores, guest.online, guest.present
        ),
        None => status.cores.to_string(),
    };
    rows.push(("cores", cores));
    let load = match (status.utilization, status.demand) {
        (Some(utilization), Some(demand)) => {
            format!(
                "{:.0} % busy, {demand:.2} cores wanted",
                utilization * 100.0
            )
        }
        _ => "no sample yet".to_owned(),
    };
    rows.push(("load", load));
    if let (Some(mean), Some(peak)) = (status.demand_mean, status.demand_busiest_minute) {
        rows.push((
            "windows",
            format!("mean {mean:.2}, busiest minute {peak:.2} cores"),
        ));
    }
    if let Some(steal) = status.steal.filter(|steal| *steal >= 0.05) {
        rows.push((
            "stolen",
            format!("{steal:.2} cores by the hypervisor; more cores do not cure that"),
        ));
    }
    rows.push(("now", status.outlook_text()));
    if let Some(why) = &status.why {
        rows.push(("because", why.clone()));
    }
    if let Some(trouble) = &status.api_trouble {
        rows.push(("API", trouble.clone()));
    }
    if status.cores_known && !status.identity_proven {
        rows.push((
            "identity",
            "not proven: run `glesys-autoscaler check`".to_owned(),
        ));
    }
    if status.paused {
        let left = status
            .pause_left_s
            .map_or("until `resume`".to_owned(), |s| {
                format!("for {} more", span(Duration::from_secs(s)))
            });
        rows.push(("paused", left));
    }
    for (name, learned) in [("raising", &status.raising), ("lowering", &status.lowering)] {
        if let Some(off) = &learned.off {
            rows.push((name, format!("off: {off}; `resume --{name}` forgets that")));
        }
    }
    if status.disk_full {
        rows.push((
            "disk",
            "state cannot be written where it survives a reboot: nothing is lowered".to_owned(),
        ));
    }
    if status.dry_run {
        rows.push(("dry run", "nothing is changed".to_owned()));
    }
    let mut changes = format!("{} today", status.changes_today);
    if let Some(ago) = status.last_change_s {
        changes += &format!(", the last {} ago", span(Duration::from_secs(ago)));
    }
    rows.push(("changes", changes));
    let lines: Vec<String> = rows
        .iter()
        .map(|(name, text)| format!("{name:>9}  {text}"))
        .collect();
    lines.join("\n")
}
