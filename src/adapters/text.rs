//! Text of the other side, made fit for one line of a log.

/// The most characters of the server's own words in a message.
pub const QUOTED: usize = 200;

/// `text` on one line: white space and control characters become single spaces, and what is
/// invisible or turns the direction of writing is left out, so that nothing can forge a line or
/// steer a terminal.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(1024));
    for c in text.chars().filter(|c| !is_invisible(*c)) {
        if c.is_whitespace() || c.is_control() {
            if !line.is_empty() && !line.ends_with(' ') {
                line.push(' ');
            }
        } else {
            line.push(c);
        }
    }
    line.truncate(line.trim_end().len());
    line
}

/// The first [`QUOTED`] characters, with a mark where something was cut off.
#[must_use]
pub fn clip(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_and_nothing_that_steers() {
        for (text, expected) in [
            ("Server Locked\n", "Server Locked"),
            ("  a\r\n\tb  ", "a b"),
            ("\u{1b}[31mred\u{7}", "[31mred"),
            ("a\u{0}b", "a b"),
            ("x\u{202e}y\u{200b}z\u{2028}w", "xyz w"),
            ("\n \n", ""),
        ] {
            assert_eq!(one_line(text), expected);
        }
    }

    #[test]
    fn clipped_by_characters_not_bytes() {
        let long = "å".repeat(QUOTED + 1);
        assert_eq!(clip(&long), format!("{}…", "å".repeat(QUOTED)));
        assert_eq!(clip(&long[2..]), &long[2..]);
    }
}
