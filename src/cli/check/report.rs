//! The lines of `check`: one a step, with its mark.

use super::super::Exit;
use std::fmt::Display;
use std::io::{BufRead, IsTerminal, Write};

/// Prints steps as they are made, and remembers how they ended.
#[derive(Debug, Default)]
pub struct Report {
    configuration: bool,
    failed: bool,
    warned: bool,
    #[cfg(test)]
    pub lines: Vec<String>,
}

impl Report {
    /// The step is right.
    pub fn good(&mut self, step: &str, text: impl Display) {
        self.line('✓', step, &text);
    }

    /// The step is wrong: the text says what and how to mend it; `exit` is what it makes of the
    /// command.
    pub fn bad(&mut self, exit: Exit, step: &str, text: impl Display) {
        match exit {
            Exit::Configuration => self.configuration = true,
            Exit::Failed => self.failed = true,
            Exit::Done => {}
        }
        self.line('✗', step, &text);
    }

    /// Worth knowing, and no reason to fail.
    pub fn warn(&mut self, step: &str, text: impl Display) {
        self.warned = true;
        self.line('!', step, &text);
    }

    /// The step was not made, and why.
    pub fn skip(&mut self, step: &str, text: impl Display) {
        self.line('–', step, &text);
    }

    fn line(&mut self, mark: char, step: &str, text: &dyn Display) {
        let text = text.to_string().replace('\n', "\n    ");
        let line = format!("{mark} {step}: {text}");
        say(&line);
        #[cfg(test)]
        self.lines.push(line);
    }

    /// Whether something is worth knowing.
    pub fn warned(&self) -> bool {
        self.warned
    }

    /// How the command ends: a wrong configuration goes first, since trying again does not mend it.
    pub fn exit(&self) -> Exit {
        match (self.configuration, self.failed) {
            (true, _) => Exit::Configuration,
            (false, true) => Exit::Failed,
            (false, false) => Exit::Done,
        }
    }
}

/// A line on standard output. A reader who has gone does not end the check.
pub fn say(text: impl Display) {
    let _unheard = writeln!(std::io::stdout(), "{text}");
}

/// What the operator answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Go on.
    Yes,
    /// Do not.
    No,
    /// There is nobody to ask.
    NoTerminal,
}

/// Asks the operator, unless `--yes` has answered already.
pub fn ask(question: &str, yes: bool) -> Answer {
    let mut out = std::io::stdout();
    if yes {
        say(format_args!("{question} yes (--yes)"));
        return Answer::Yes;
    }
    if !std::io::stdin().is_terminal() {
        return Answer::NoTerminal;
    }
    let _unheard = write!(out, "{question} [y/N] ").and_then(|()| out.flush());
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    match line.trim().to_lowercase().as_str() {
        "y" | "yes" if read.is_ok() => Answer::Yes,
        _ => Answer::No,
    }
}
