//! The secret API key, and the three places that it may come from.

use rustix::fs::OFlags;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use std::ffi::OsString;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The name of the systemd credential, in `$CREDENTIALS_DIRECTORY`.
pub const CREDENTIAL: &str = "api-key";

/// The environment variable with which systemd names the directory of a unit's credentials.
pub const CREDENTIAL_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// The environment variable that is looked at last.
pub const VARIABLE: &str = "GLESYS_API_KEY";

/// The most bytes that a key file may hold. Keys are some forty characters long; a bigger file
/// is another file.
pub const MAX_BYTES: usize = 4096;

/// The API key: 1 to 4096 printable ASCII characters without a space.
///
/// It is wiped when dropped, has no `Display` and no `Serialize`, and its `Debug` form does not
/// show it.
#[derive(Clone)]
pub struct ApiKey {
    secret: SecretString,
    origin: KeyOrigin,
}

/// Where a key came from, for messages: "the key is read from …".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyOrigin {
    /// A systemd credential; the path of its file.
    Credential(PathBuf),
    /// The key file of the policy.
    File(PathBuf),
    /// `$GLESYS_API_KEY`.
    Environment,
    /// Made by the program itself, for its sandbox.
    Given,
}

/// The places to look, as plain values. The first that exists counts.
///
/// The caller reads the environment once, at the start of the program. The variable then stays in
/// the environment block of the process (removing it is unsafe in a program with threads), so
/// every child process must be started with `Command::env_remove(`[`VARIABLE`]`)`.
#[derive(Default)]
pub struct KeySources {
    /// `$CREDENTIALS_DIRECTORY`, set by systemd for a unit with `LoadCredential=`.
    pub credentials_directory: Option<PathBuf>,
    /// `api.key_file` of the policy.
    pub key_file: Option<PathBuf>,
    /// The value of `$GLESYS_API_KEY`. Wiped after use.
    pub environment: Option<OsString>,
}

/// Why there is no usable key. Each message names the place and what mends it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// No place holds a key.
    #[error(
        "there is no API key: looked at {looked}; write it into the key file and run `chmod 600` on that"
    )]
    NoKey {
        /// Every place, and why it gave none.
        looked: String,
    },
    /// The file is there, but not for this user.
    #[error(
        "{place} cannot be read: it belongs to uid {owner} (mode {mode:04o}) and this program runs as uid {uid}; {mend}"
    )]
    NotOurs {
        /// The place.
        place: KeyOrigin,
        /// What mends it.
        mend: String,
        /// Who owns the file.
        owner: u32,
        /// The permission bits of the file.
        mode: u32,
        /// Who asked.
        uid: u32,
    },
    /// The file cannot be read for another reason.
    #[error(
        "{place} cannot be read: {cause}; check the path and the permissions of its directories"
    )]
    Unreadable {
        /// The place.
        place: KeyOrigin,
        /// What the system said.
        cause: io::Error,
    },
    /// A directory, a pipe, a device.
    #[error("{place} is not a regular file; it must be a file that holds the key and nothing else")]
    NotAFile {
        /// The place.
        place: KeyOrigin,
    },
    /// Somebody besides the owner can read or change the file.
    #[error("{place} is open to others than its owner (mode {mode:04o}); run `chmod 600 {file}`")]
    OpenToOthers {
        /// The place.
        place: KeyOrigin,
        /// The file, quoted for a shell.
        file: String,
        /// The permission bits of the file.
        mode: u32,
    },
    /// Nothing, or nothing but white space.
    #[error("{place} is empty; put the API key there, on one line")]
    Empty {
        /// The place.
        place: KeyOrigin,
    },
    /// More than one line.
    #[error("{place} holds more than one line; it must hold the API key and nothing else")]
    SeveralLines {
        /// The place.
        place: KeyOrigin,
    },
    /// A character that no key has.
    #[error(
        "{place} holds a character that no API key has (a space, a control character, or one that is not ASCII, at byte {byte}); copy the key again"
    )]
    BadCharacter {
        /// The place.
        place: KeyOrigin,
        /// Which byte, from 1.
        byte: usize,
    },
    /// Too much for a key.
    #[error("{place} holds more than {MAX_BYTES} bytes, which is no API key; check the path")]
    TooLong {
        /// The place.
        place: KeyOrigin,
    },
}

impl ApiKey {
    /// The key from the first place that exists: the systemd credential `api-key`, the key file,
    /// `$GLESYS_API_KEY`. A place that exists but holds no usable key is an error, not a reason to
    /// look further.
    ///
    /// A key file must be closed to group and others. A credential is exempt: systemd keeps it
    /// closed by its directory and by an access list, which shows as group bits.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn load(sources: KeySources) -> Result<ApiKey, KeyError> {
        let environment = sources
            .environment
            .map(|value| Zeroizing::new(value.into_encoded_bytes()));
        let credential = sources.credentials_directory.map(|d| d.join(CREDENTIAL));
        let files = [
            credential.map(|path| (path.clone(), KeyOrigin::Credential(path))),
            sources
                .key_file
                .map(|path| (path.clone(), KeyOrigin::File(path))),
        ];
        let mut looked = Vec::new();
        for (path, origin) in files.into_iter().flatten() {
            match from_file(&path, &origin)? {
                Some(key) => return Ok(key),
                None => looked.push(format!("{origin} (does not exist)")),
            }
        }
        match environment {
            Some(value) => parse(&value, KeyOrigin::Environment),
            None => {
                looked.push(format!("{} (not set)", KeyOrigin::Environment));
                Err(KeyError::NoKey {
                    looked: looked.join(", "),
                })
            }
        }
    }

    /// A key that the program made itself, for the API of its own sandbox.
    ///
    /// # Errors
    /// As for a key that was read: empty, too long, or with characters that no key has.
    pub fn given(text: String) -> Result<ApiKey, KeyError> {
        let text = Zeroizing::new(text);
        parse(text.as_bytes(), KeyOrigin::Given)
    }

    /// Where the key came from.
    #[must_use]
    pub fn origin(&self) -> &KeyOrigin {
        &self.origin
    }

    pub(super) fn expose(&self) -> &str {
        self.secret.expose_secret()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey([REDACTED])")
    }
}

impl fmt::Debug for KeySources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySources")
            .field("credentials_directory", &self.credentials_directory)
            .field("key_file", &self.key_file)
            .field(
                "environment",
                &self.environment.as_ref().map(|_| "[REDACTED]"),
            )
            .finish()
    }
}

impl fmt::Display for KeyOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyOrigin::Credential(path) => write!(f, "the systemd credential {}", path.display()),
            KeyOrigin::File(path) => write!(f, "the key file {}", path.display()),
            KeyOrigin::Environment => write!(f, "${VARIABLE}"),
            KeyOrigin::Given => f.write_str("the key of the sandbox"),
        }
    }
}

/// The key in the file at `path`; `None` where there is no such file.
fn from_file(path: &Path, origin: &KeyOrigin) -> Result<Option<ApiKey>, KeyError> {
    // NONBLOCK: opening a pipe that nobody writes to must not hang the start of the daemon.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(unreadable(path, origin, e)),
    };
    let metadata = file.metadata().map_err(|e| unreadable(path, origin, e))?;
    if !metadata.is_file() {
        return Err(KeyError::NotAFile {
            place: origin.clone(),
        });
    }
    let mode = metadata.mode() & 0o7777;
    if matches!(origin, KeyOrigin::File(_)) && mode & 0o077 != 0 {
        return Err(KeyError::OpenToOthers {
            place: origin.clone(),
            file: shell_word(path),
            mode,
        });
    }
    let bytes = read_wiped(file).map_err(|e| unreadable(path, origin, e))?;
    parse(&bytes, origin.clone()).map(Some)
}

fn unreadable(path: &Path, origin: &KeyOrigin, cause: io::Error) -> KeyError {
    if cause.kind() == io::ErrorKind::PermissionDenied
        && let Ok(metadata) = std::fs::metadata(path)
        && metadata.is_file()
    {
        let uid = rustix::process::geteuid().as_raw();
        return KeyError::NotOurs {
            place: origin.clone(),
            mend: if metadata.uid() == uid {
                format!("run `chmod 600 {}`", shell_word(path))
            } else {
                // Never to give it away: who may not read the key should not have it.
                "run it as the user that the key belongs to, or name a key file of your own in api.key_file"
                    .to_owned()
            },
            owner: metadata.uid(),
            mode: metadata.mode() & 0o7777,
            uid,
        };
    }
    KeyError::Unreadable {
        place: origin.clone(),
        cause,
    }
}

/// At most one byte more than a key may have, in a buffer that is never reallocated, since a
/// reallocation would leave a copy behind that nobody wipes.
fn read_wiped(mut file: File) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut buffer = Zeroizing::new(vec![0; MAX_BYTES + 1]);
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}

fn parse(bytes: &[u8], origin: KeyOrigin) -> Result<ApiKey, KeyError> {
    if bytes.len() > MAX_BYTES {
        return Err(KeyError::TooLong { place: origin });
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(KeyError::Empty { place: origin });
    }
    let line = without_final_newlines(bytes);
    if line.contains(&b'\n') || line.contains(&b'\r') {
        return Err(KeyError::SeveralLines { place: origin });
    }
    if let Some(at) = line.iter().position(|byte| !byte.is_ascii_graphic()) {
        return Err(KeyError::BadCharacter {
            place: origin,
            byte: at + 1,
        });
    }
    let text = std::str::from_utf8(line).map_err(|e| KeyError::BadCharacter {
        place: origin.clone(),
        byte: e.valid_up_to() + 1,
    })?;
    Ok(ApiKey {
        // From a `&str` straight into a box of its size: by way of a `String` a copy could be left.
        secret: SecretBox::new(Box::from(text)),
        origin,
    })
}

fn without_final_newlines(mut bytes: &[u8]) -> &[u8] {
    while let [head @ .., b'\n' | b'\r'] = bytes {
        bytes = head;
    }
    bytes
}

/// A path as one word of a shell command, so that the mend can be pasted.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=@%,:".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
