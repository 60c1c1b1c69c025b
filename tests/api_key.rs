//! Where the API key comes from, and what is refused as one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use glesys_autoscaler::adapters::api_key::{ApiKey, KeyError, KeyOrigin, KeySources, MAX_BYTES};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const KEY: &str = "canary-4f1d7c2b9e";

/// A directory for one test.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    /// What is made of a private key file with this content.
    fn content(&self, content: impl AsRef<[u8]>) -> Result<ApiKey, KeyError> {
        from_file(&self.file("key", content, 0o600))
    }
}

fn from_file(path: &Path) -> Result<ApiKey, KeyError> {
    ApiKey::load(KeySources {
        key_file: Some(path.to_owned()),
        ..KeySources::default()
    })
}

/// The message of the error, which must not show what was in the file.
fn message(result: Result<ApiKey, KeyError>) -> String {
    let error = result.unwrap_err();
    let message = error.to_string();
    assert!(!message.contains("canary"), "{message}");
    assert!(!message.contains('\n'), "{message}");
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    message
}

#[test]
fn credential_then_key_file_then_environment() {
    let place = Place::new();
    let credential = place.file("api-key", "from-credential", 0o400);
    let file = place.file("key", "from-file", 0o600);
    let gone = place.path("gone");
    let elsewhere = place.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let here = place.0.path().to_owned();
    for (directory, key_file, environment, expected) in [
        (
            Some(&here),
            Some(&file),
            Some("from-env"),
            KeyOrigin::Credential(credential),
        ),
        (
            Some(&elsewhere),
            Some(&file),
            Some("from-env"),
            KeyOrigin::File(file.clone()),
        ),
        (None, Some(&file), None, KeyOrigin::File(file.clone())),
        (
            Some(&gone),
            Some(&gone),
            Some("from-env"),
            KeyOrigin::Environment,
        ),
        (None, None, Some("from-env"), KeyOrigin::Environment),
    ] {
        let key = ApiKey::load(KeySources {
            credentials_directory: directory.cloned(),
            key_file: key_file.cloned(),
            environment: environment.map(Into::into),
        });
        assert_eq!(*key.unwrap().origin(), expected);
    }
}

#[test]
fn a_place_that_exists_but_is_bad_is_not_passed_over() {
    let place = Place::new();
    place.file("api-key", "", 0o400);
    let sources = || KeySources {
        credentials_directory: Some(place.0.path().to_owned()),
        key_file: Some(place.file("key", KEY, 0o600)),
        environment: Some(KEY.into()),
    };
    let said = message(ApiKey::load(sources()));
    assert!(said.contains("api-key is empty"), "{said}");

    fs::remove_file(place.path("api-key")).unwrap();
    let mut open = sources();
    open.key_file = Some(place.file("open", KEY, 0o644));
    let said = message(ApiKey::load(open));
    assert!(said.contains("chmod 600"), "{said}");
}

#[test]
fn with_no_key_anywhere_every_place_is_named() {
    let place = Place::new();
    let said = message(ApiKey::load(KeySources {
        credentials_directory: Some(place.0.path().to_owned()),
        key_file: Some(place.path("key")),
        environment: None,
    }));
    for part in [
        "api-key",
        place.path("key").to_str().unwrap(),
        "$GLESYS_API_KEY",
        "chmod 600",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = message(ApiKey::load(KeySources::default()));
    assert!(said.contains("$GLESYS_API_KEY"), "{said}");
}

#[test]
fn a_key_file_that_others_can_open_is_refused_with_the_command_that_mends_it() {
    let place = Place::new();
    for mode in [0o640, 0o604, 0o644, 0o660, 0o620, 0o602, 0o777] {
        let path = place.file("key", KEY, mode);
        let said = message(from_file(&path));
        assert!(
            said.contains(&format!("`chmod 600 {}`", path.display())),
            "{said}"
        );
        assert!(said.contains(&format!("mode {mode:04o}")), "{said}");
    }
    for mode in [0o600, 0o400] {
        from_file(&place.file(&format!("key{mode}"), KEY, mode)).unwrap();
    }
}

#[test]
fn the_command_can_be_pasted_whatever_the_path() {
    let place = Place::new();
    let path = place.file("it's my key; $(rm)", KEY, 0o644);
    let said = message(from_file(&path));
    assert!(said.contains(r"/it'\''s my key; $(rm)'`"), "{said}");
}

#[test]
fn the_mode_of_a_credential_is_systemds_affair() {
    let place = Place::new();
    for mode in [0o400, 0o440, 0o444] {
        place.file("api-key", KEY, mode);
        let key = ApiKey::load(KeySources {
            credentials_directory: Some(place.0.path().to_owned()),
            ..KeySources::default()
        });
        key.unwrap();
        fs::remove_file(place.path("api-key")).unwrap();
    }
}

#[test]
fn the_final_newline_is_not_part_of_the_key() {
    let place = Place::new();
    for content in [
        KEY.to_owned(),
        format!("{KEY}\n"),
        format!("{KEY}\r\n"),
        format!("{KEY}\n\n"),
    ] {
        place.content(content).unwrap();
    }
}

#[test]
fn what_is_no_key_is_refused_each_with_its_reason() {
    let place = Place::new();
    for (content, says) in [
        (Vec::new(), "is empty"),
        (b"\n".to_vec(), "is empty"),
        (b" \t\r\n \n".to_vec(), "is empty"),
        (b"canary\ncanary\n".to_vec(), "more than one line"),
        (b"\ncanary".to_vec(), "more than one line"),
        (b"canary\rcanary".to_vec(), "more than one line"),
        (b"canary two".to_vec(), "at byte 7"),
        (b" canary".to_vec(), "at byte 1"),
        (b"canary\t\n".to_vec(), "at byte 7"),
        (b"canary\0".to_vec(), "at byte 7"),
        (b"canary\x7f".to_vec(), "at byte 7"),
        ("canaryå".into(), "at byte 7"),
        ("\u{feff}canary".into(), "at byte 1"),
        (b"canary\xff".to_vec(), "at byte 7"),
        (
            "canary".repeat(MAX_BYTES).into_bytes(),
            "more than 4096 bytes",
        ),
        (vec![b'k'; MAX_BYTES + 1], "more than 4096 bytes"),
    ] {
        let said = message(place.content(content));
        assert!(said.contains(says), "{says}: {said}");
        assert!(said.contains(place.path("key").to_str().unwrap()), "{said}");
    }
    place.content(vec![b'k'; MAX_BYTES]).unwrap();
}

#[test]
fn the_environment_is_checked_as_well() {
    for (value, says) in [
        ("", "$GLESYS_API_KEY is empty"),
        ("canary canary", "$GLESYS_API_KEY holds a character"),
        ("canary\ncanary", "$GLESYS_API_KEY holds more than one line"),
    ] {
        let said = message(ApiKey::load(KeySources {
            environment: Some(value.into()),
            ..KeySources::default()
        }));
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn only_a_regular_file_is_a_key_file() {
    let place = Place::new();
    let said = message(from_file(place.0.path()));
    assert!(said.contains("not a regular file"), "{said}");

    // Nobody writes to it: opening must not wait for that.
    let pipe = place.path("pipe");
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let said = message(from_file(&pipe));
    assert!(said.contains("not a regular file"), "{said}");

    let said = message(from_file(&place.file("file", KEY, 0o600).join("below")));
    assert!(said.contains("cannot be read"), "{said}");

    symlink(place.path("file"), place.path("link")).unwrap();
    from_file(&place.path("link")).unwrap();
}

#[test]
fn a_file_of_somebody_else_names_the_owner_and_the_mend() {
    let place = Place::new();
    fs::set_permissions(place.0.path(), Permissions::from_mode(0o755)).unwrap();
    let path = place.file("key", KEY, 0o600);
    if rustix::process::geteuid().is_root() {
        // Only this thread becomes somebody else; it ends with the test.
        let nobody = rustix::process::Uid::from_raw(65534);
        let theirs = path.clone();
        let said = std::thread::spawn(move || {
            let uids = (Some(nobody), Some(nobody), Some(nobody));
            rustix::thread::set_thread_res_uid(uids.0, uids.1, uids.2).unwrap();
            message(from_file(&theirs))
        });
        let said = said.join().unwrap();
        assert!(said.contains("belongs to uid 0 (mode 0600)"), "{said}");
        assert!(
            said.contains("as the user that the key belongs to"),
            "{said}"
        );
        assert!(!said.contains("chown"), "{said}");
    } else {
        fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
        let said = message(from_file(&path));
        assert!(
            said.contains(&format!("chmod 600 {}", path.display())),
            "{said}"
        );
    }
}

#[test]
fn no_debug_form_shows_the_key() {
    let key = ApiKey::given(KEY.to_owned()).unwrap();
    assert_eq!(format!("{key:?}"), "ApiKey([REDACTED])");
    let sources = KeySources {
        environment: Some(KEY.into()),
        ..KeySources::default()
    };
    let shown = format!("{sources:?}");
    assert!(
        !shown.contains(KEY) && shown.contains("REDACTED"),
        "{shown}"
    );
}
