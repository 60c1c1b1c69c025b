//! Finds what must not be shown. A key has no place in a policy file, but people put one there,
//! and a message about the file that cites it would carry it into the journal.
//!
//! Works on the bare text, since a line with a key may be the very line that is no TOML; `file`
//! adds what only the parsed document tells (names written with escapes, say). Rather hides too
//! much than too little: nobody misses the rest of a line whose caret points at its beginning.

use std::ops::Range;

/// Words that end the name of a secret, in lower case: `api_key`, `apikey`, `smtp-password`.
const SECRET_WORDS: [&str; 11] = [
    "key",
    "keys",
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "credential",
    "credentials",
    "bearer",
];
/// Words that make the name one of a secret only when they stand alone between separators.
const SECRET_PARTS: [&str; 4] = ["pass", "auth", "authorization", "otp"];
/// Words at the end of a name that tells where a secret is, not what it is.
const PLACE_WORDS: [&str; 4] = ["file", "path", "dir", "directory"];
/// Letters and digits that follow each other unbroken for this long are taken for a key: the
/// names of projects, servers and paths are shorter.
const KEY_LENGTH: usize = 20;

/// Whether a key called `name` would hold a secret.
pub(super) fn is_secret_name(name: &str) -> bool {
    let name = name.to_lowercase();
    let mut parts = name
        .split(|c: char| !c.is_alphanumeric())
        .filter(|p| !p.is_empty());
    let secret = |part: &str| {
        SECRET_PARTS.contains(&part) || SECRET_WORDS.iter().any(|word| part.ends_with(word))
    };
    parts.clone().any(secret) && !parts.next_back().is_some_and(|p| PLACE_WORDS.contains(&p))
}

/// `text` as it may be shown, with `…` for what may not.
pub(super) fn masked(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut from = 0;
    for range in hidden(text) {
        shown.push_str(&text[from..range.start]);
        shown.push('…');
        from = range.end;
    }
    shown.push_str(&text[from..]);
    shown
}

/// The byte ranges of `text` that must not be shown: ascending, apart from each other.
pub(super) fn hidden(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut hidden_until = 0;
    for line in text.split_inclusive('\n') {
        if start >= hidden_until {
            let at = |range: Range<usize>| range.start + start..range.end + start;
            found.extend(key_shaped(line).map(at));
            found.extend(url_credentials(line).map(at));
            if let Some(value) = secret_value(line) {
                hidden_until = end_of_value(text, start + value, is_header(line));
                found.push(start + value..hidden_until);
            }
        }
        start += line.len();
    }
    merged(found)
}

/// Sorts ranges and joins those that touch.
pub(super) fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|r| r.start);
    ranges.retain(|r| !r.is_empty());
    ranges.into_iter().fold(Vec::new(), |mut merged, range| {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
        merged
    })
}

/// Runs of characters for which `belongs` holds.
fn runs(line: &str, belongs: impl Fn(char) -> bool) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + line[at..].find(&belongs)?;
        at = line[start..]
            .find(|c| !belongs(c))
            .map_or(line.len(), |n| start + n);
        Some(start..at)
    })
}

/// What looks like a key wherever it stands: pasted as the project, or under a mistyped name.
fn key_shaped(line: &str) -> impl Iterator<Item = Range<usize>> {
    runs(line, |c| c.is_ascii_alphanumeric()).filter(|run| {
        let bytes = line[run.clone()].as_bytes();
        let kinds: [fn(&u8) -> bool; 3] = [
            u8::is_ascii_digit,
            u8::is_ascii_lowercase,
            u8::is_ascii_uppercase,
        ];
        bytes.len() >= KEY_LENGTH && kinds.iter().filter(|k| bytes.iter().any(**k)).count() > 1
    })
}

/// The user name and password in an address: `https://user:password@host`.
fn url_credentials(line: &str) -> impl Iterator<Item = Range<usize>> {
    line.match_indices("://").filter_map(|(at, mark)| {
        let start = at + mark.len();
        let end = line[start..]
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\''))
            .map_or(line.len(), |n| start + n);
        line[start..end].rfind('@').map(|n| start..start + n)
    })
}

/// Where the value of a secret begins in `line`: after the name and its `=` or `:`, and where
/// those are missing, after the name.
fn secret_value(line: &str) -> Option<usize> {
    let line = line.trim_end_matches(['\n', '\r']);
    let mut words = runs(line, |c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    words.find_map(|word| {
        if !is_secret_name(&line[word.clone()]) {
            return None;
        }
        let mut rest = &line[word.end..];
        if rest.trim_start_matches(['"', '\'']).starts_with('.') {
            // A table of that name: what follows the whole dotted name counts.
            let dotted = |c: char| c.is_alphanumeric() || "_-.\"'".contains(c);
            rest = rest.trim_start_matches(dotted);
        }
        let after_name = rest.trim_start_matches(['"', '\'']).trim_start();
        let value = match after_name.chars().next() {
            Some('=' | ':') => &after_name[1..],
            Some('"' | '\'') => after_name,
            Some(']') if is_header(line) => after_name.trim_start_matches(']'),
            _ if is_header(line) || begins_line(&line[..word.start]) => after_name,
            _ => return None,
        };
        Some(line.len() - value.trim_start_matches([' ', '\t']).len())
    })
}

/// Whether a name, perhaps dotted, that goes on after `before` is the first thing on its line.
fn begins_line(before: &str) -> bool {
    let quotes = ['"', '\''];
    let before = before.trim_start_matches(['#', ' ', '\t']);
    let in_quotes = before.starts_with(quotes) && before.matches(quotes).count() == 1;
    in_quotes || !before.contains(char::is_whitespace)
}

fn is_header(line: &str) -> bool {
    line.trim_start().starts_with('[')
}

/// Whether `line` begins something new, so that a value begun before it is over.
fn begins_anew(line: &str) -> bool {
    let name = |c: char| c.is_alphanumeric() || "_-.\"' \t".contains(c);
    let rest = line.trim_start_matches(name);
    is_header(line) || (rest.starts_with('=') && rest.len() < line.trim_start().len())
}

/// Where a secret that begins at `from` ends at the latest: always at the end of a line.
fn end_of_value(text: &str, from: usize, whole_table: bool) -> usize {
    let value = text[from..].trim_start_matches([' ', '\t']);
    let start = text.len() - value.len();
    let line_end = |at: usize| text[at..].find('\n').map_or(text.len(), |n| at + n);
    let next = |stops: fn(&str) -> bool| {
        let mut end = line_end(from);
        while let Some(line) = text[end..].strip_prefix('\n') {
            if stops(line.lines().next().unwrap_or_default()) {
                break;
            }
            end = line_end(end + 1);
        }
        end
    };
    if whole_table {
        return next(is_header);
    }
    for quote in ["\"\"\"", "'''"] {
        if let Some(inside) = value.strip_prefix(quote) {
            return inside
                .find(quote)
                .map_or(text.len(), |n| line_end(start + quote.len() + n));
        }
    }
    if value.starts_with(['[', '{']) {
        let mut open = 0_i32;
        let closing = value.char_indices().find(|(_, c)| {
            open += match c {
                '[' | '{' => 1,
                ']' | '}' => -1,
                _ => 0,
            };
            open == 0
        });
        return closing.map_or(text.len(), |(n, _)| line_end(start + n));
    }
    next(begins_anew)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets() {
        for name in [
            "key",
            "api_key",
            "apikey",
            "apiKey",
            "API-KEY",
            "api key",
            "password",
            "passwd",
            "smtp_password",
            "token",
            "secret",
            "auth",
            "GLESYS_API_KEY",
            "login_pwd",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "key_file",
            "keyfile",
            "api_key_path",
            "project",
            "compass",
            "author",
            "",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn hides_the_values_of_secrets() {
        for (text, shown) in [
            ("api_key = \"canary\"", "api_key = …"),
            ("api_key: canary", "api_key: …"),
            ("  api_key canary", "  api_key …"),
            ("\"api key\" canary", "\"api key\" …"),
            ("api.key canary", "api.key …"),
            ("\"api key\" = 'canary'", "\"api key\" = …"),
            (
                "api.key = \"canary\"\ntimeout = \"5s\"",
                "api.key = …\ntimeout = \"5s\"",
            ),
            (
                "api = { project = \"x\", key = \"canary\" }",
                "api = { project = \"x\", key = …",
            ),
            ("key = \"\"\"\ncanary\n\"\"\"\nx = 1", "key = …\nx = 1"),
            ("key = \"\"\"\ncanary\nx = 1", "key = …"),
            ("key = [\n\"canary\",\n]\nx = 1", "key = …\nx = 1"),
            ("key =\n\"canary\"\nx = 1", "key =…\nx = 1"),
            ("key\n= \"canary\"\nx = 1", "key…\nx = 1"),
            ("key\nx = 1", "key\nx = 1"),
            (
                "[api.key]\nvalue = \"canary\"\n[limits]",
                "[api.key]…\n[limits]",
            ),
            ("# api_key = canary", "# api_key = …"),
            (
                "url = \"https://me:canary@host/\"",
                "url = \"https://…@host/\"",
            ),
            ("project = \"aB3dE6gH9jK2mN5pQ8sT\"", "project = \"…\""),
        ] {
            assert_eq!(masked(text), shown);
        }
    }

    #[test]
    fn shows_everything_else() {
        for text in [
            "key_file = \"/etc/glesys-autoscaler/api-key\"",
            "allowed_cores = [1, 2, 4] # as the platform has them",
            "url = \"https://api.glesys.com\"",
            "server_id = \"kvm1234567\"\r\nmax_changes_per_day=96",
        ] {
            assert_eq!(masked(text), text);
        }
    }
}
