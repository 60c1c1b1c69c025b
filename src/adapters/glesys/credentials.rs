//! The one place that uses the secret key: for the request header, and to keep it out of texts.

use crate::adapters::api_key::ApiKey;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::header::HeaderValue;
use zeroize::Zeroizing;

const REDACTED: &str = "[REDACTED]";

/// User and password of HTTP Basic: the project and the key (`glesys-api.md` section 1, doc 1).
#[derive(Debug)]
pub(super) struct Credentials {
    project: String,
    key: ApiKey,
}

impl Credentials {
    /// `project` must hold no `:`, which ends the user name in HTTP Basic.
    pub(super) fn new(project: String, key: ApiKey) -> Credentials {
        Credentials { project, key }
    }

    pub(super) fn project(&self) -> &str {
        &self.project
    }

    /// The value of `Authorization`, made anew for each request, marked as sensitive so that
    /// nothing prints it, and wiped with the request.
    pub(super) fn header(&self) -> HeaderValue {
        let encoded = self.base64();
        let mut value = Zeroizing::new(Vec::with_capacity("Basic ".len() + encoded.len()));
        value.extend_from_slice(b"Basic ");
        value.extend_from_slice(encoded.as_bytes());
        #[expect(
            clippy::expect_used,
            reason = "Base64 holds only legal header characters"
        )]
        let mut header = HeaderValue::from_maybe_shared(Bytes::from_owner(value))
            .expect("Base64 in a header value");
        header.set_sensitive(true);
        header
    }

    /// `text` without the key, plain or in its Basic form, should the other side have echoed it.
    pub(super) fn redact(&self, text: &str) -> String {
        text.replace(self.base64().trim_end_matches('='), REDACTED)
            .replace(self.key.expose(), REDACTED)
    }

    fn base64(&self) -> Zeroizing<String> {
        let key = self.key.expose();
        let mut pair = Zeroizing::new(String::with_capacity(self.project.len() + 1 + key.len()));
        pair.push_str(&self.project);
        pair.push(':');
        pair.push_str(key);
        // With room for all of it at once: growing would leave an unwiped copy behind.
        let mut encoded = Zeroizing::new(String::with_capacity(pair.len().div_ceil(3) * 4));
        STANDARD.encode_string(pair.as_bytes(), &mut encoded);
        encoded
    }
}
