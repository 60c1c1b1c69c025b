//! Looks for the planted API key, in all the forms that it could take.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use crate::daemon::{KEY, PROJECT};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fs;
use std::path::Path;

/// The key as it is, as HTTP Basic sends it, and within the Base64 of whatever else.
pub fn forms() -> Vec<String> {
    let basic = STANDARD.encode(format!("{PROJECT}:{KEY}"));
    // By what stands before it, Base64 comes out in three ways.
    let shifted = |lead: &str| {
        let text = STANDARD.encode(format!("{lead}{KEY}"));
        text[lead.len() + 1..text.len() - 4].to_owned()
    };
    vec![
        KEY.to_owned(),
        basic.trim_end_matches('=').to_owned(),
        shifted(""),
        shifted("a"),
        shifted("ab"),
    ]
}

/// Fails where `bytes` hold the key.
pub fn assert_clean(what: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for form in forms() {
        assert!(!text.contains(&form), "{what} holds the key:\n{text}");
    }
}

/// Likewise every file below `dir`; how many there are.
pub fn assert_files_clean(dir: &Path) -> usize {
    let mut files = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files += assert_files_clean(&path);
        } else if path.is_file() {
            assert_clean(&path.display().to_string(), &fs::read(&path).unwrap());
            files += 1;
        }
    }
    files
}
