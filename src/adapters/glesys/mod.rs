//! The client of the Glesys API: [`ports::CloudApi`](crate::ports::CloudApi) over HTTPS.
//!
//! One call is one request on a connection of its own. Nothing is repeated, redirected, pooled or
//! sent by way of a proxy; whatever goes wrong comes back as an [`ApiFailure`] sorted by what to
//! do next. The source marks in these modules (doc, rec, cli, inf) are those of the API contract:
//! Glesys' own text, a recorded answer, what published clients rely on, inferred.

mod call_budget;
mod connection;
mod credentials;
pub mod envelope;
pub mod failure;
mod resolver;
mod transport;

pub use call_budget::CallBudget;
pub use connection::BuildError;
pub use resolver::AddressFamily;

use crate::adapters::api_key::ApiKey;
use crate::adapters::text::{clip, one_line};
use crate::engine::cloud::{ApiFailure, FailureKind, Server};
use crate::ports::CloudApi;
use credentials::Credentials;
use envelope::{Code, Envelope};
use failure::{Function, Refusal, outcome, sort};
use hyper_util::client::legacy::connect::HttpInfo;
use reqwest::header::{ACCEPT, AUTHORIZATION, DATE, HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use reqwest::{Client, Response, Url};
use serde_json::{Value, json};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The most bytes of an answer that are read. A record of a server has some two kilobytes.
pub const MAX_BODY: usize = 256 * 1024;

/// The longest `Retry-After` that is believed.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// How to reach the API, and as whom.
#[derive(Debug)]
pub struct Options {
    /// `https://…`, or `http://…` on loopback. A path before the functions is kept.
    pub url: String,
    /// The user name of the API, sent as written.
    pub project: String,
    /// The server to scale; an opaque string.
    pub server_id: String,
    /// The key of the project.
    pub key: ApiKey,
    /// Root certificates in PEM form, trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Which addresses of the API to use.
    pub address_family: AddressFamily,
    /// For a whole call; three quarters of it for the connection.
    pub timeout: Duration,
    /// The own call rate.
    pub calls: CallBudget,
}

/// The Glesys API for one server.
pub struct Glesys {
    http: Client,
    url: Url,
    /// Host and port, for messages.
    host: String,
    server_id: String,
    credentials: Credentials,
    timeout: Duration,
    calls: Mutex<CallBudget>,
    started: Instant,
}

impl Glesys {
    /// Checks the options and loads the trusted certificates. Nothing is sent.
    ///
    /// # Errors
    /// A fault of the configuration, see [`BuildError`].
    pub fn new(options: Options) -> Result<Glesys, BuildError> {
        let url = connection::checked_url(&options.url, options.address_family)?;
        let project = options.project;
        if project.is_empty() || project.chars().any(|c| c == ':' || c.is_control()) {
            return Err(BuildError::Project { project });
        }
        let server_id = options.server_id;
        if server_id.is_empty() || server_id.chars().any(char::is_control) {
            return Err(BuildError::ServerId { server_id });
        }
        let http = connection::client(
            &url,
            options.address_family,
            options.ca_file.as_deref(),
            options.timeout,
        )?;
        let host = format!(
            "{}:{}",
            url.host_str().unwrap_or_default(),
            url.port_or_known_default().unwrap_or_default()
        );
        Ok(Glesys {
            http,
            url,
            host,
            server_id,
            credentials: Credentials::new(project, options.key),
            timeout: options.timeout,
            calls: Mutex::new(options.calls),
            started: Instant::now(),
        })
    }

    /// One call. `Ok` is HTTP 200 with `status.code` 200 or none (section 3).
    async fn call(&self, function: Function, arguments: &Value) -> Result<Envelope, ApiFailure> {
        self.spend_call(function)?;
        let mut response = self
            .http
            .post(self.address(function))
            .header(AUTHORIZATION, self.credentials.header())
            .header(ACCEPT, "application/json")
            // Sets `Content-Type: application/json`.
            .json(arguments)
            .send()
            .await
            .map_err(|error| self.broken(function, error))?;
        let body = self.body(function, &mut response).await;
        let http = response.status().as_u16();
        let answer = body.as_ref().ok().and_then(|body| Envelope::read(body));
        match (http, body, answer) {
            (200, Err(failure), _) => Err(failure),
            (200, Ok(_), None) => Err(unknown(
                function,
                "the answer is missing, cut or not the API's; check that api.url is the API",
            )),
            (200, Ok(_), Some(answer)) if matches!(answer.code, Code::Absent | Code::Is(200)) => {
                Ok(answer)
            }
            // The HTTP status says enough, whatever became of the body.
            (_, _, answer) => Err(self.refused(function, &response, answer.as_ref())),
        }
    }

    fn spend_call(&self, function: Function) -> Result<(), ApiFailure> {
        let now = self.started.elapsed();
        // A panic elsewhere leaves a budget that is still a budget.
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.take(now).map_err(|wait| ApiFailure {
            kind: FailureKind::Unavailable,
            retry_after: Some(wait),
            message: format!(
                "{function}: not sent, to spare the API: too many calls in the last minute; the next in {} s",
                wait.as_millis().div_ceil(1000)
            ),
        })
    }

    fn address(&self, function: Function) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!(
            "{}/{}",
            self.url.path().trim_end_matches('/'),
            function.path()
        ));
        url
    }

    /// The body, as far as it is small enough and comes in time.
    async fn body(
        &self,
        function: Function,
        response: &mut Response,
    ) -> Result<Vec<u8>, ApiFailure> {
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.broken(function, error))?
        {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(unknown(
                    function,
                    "the answer is longer than any of the API; check that api.url is the API",
                ));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn broken(&self, function: Function, error: reqwest::Error) -> ApiFailure {
        let (kind, message) = transport::sort(function, &self.host, self.timeout, error);
        ApiFailure {
            kind,
            retry_after: None,
            message: self.credentials.redact(&message),
        }
    }

    fn refused(
        &self,
        function: Function,
        response: &Response,
        answer: Option<&Envelope>,
    ) -> ApiFailure {
        let http = response.status().as_u16();
        let code = answer.and_then(|answer| match answer.code {
            Code::Is(code) => Some(code),
            Code::Absent | Code::Unreadable => None,
        });
        let raw = answer.map_or("", |answer| answer.text.as_str());
        let kind = sort(function, http, code, raw);
        let location = header(response.headers(), &LOCATION).map(|to| self.quoted(to));
        let connection = response.extensions().get::<HttpInfo>();
        let refusal = Refusal {
            function,
            http,
            code,
            text: &self.quoted(raw),
            location: location.as_deref(),
            source: connection.map(|connection| connection.local_addr().ip()),
            server_id: &self.server_id,
            project: self.credentials.project(),
        };
        ApiFailure {
            kind,
            retry_after: retry_after(response.headers()),
            message: refusal.message(kind),
        }
    }

    /// Words of the other side: one line, without the key, short. In this order, so that neither
    /// a control character inside the key nor the cut can hide it from the search.
    fn quoted(&self, theirs: &str) -> String {
        clip(&self.credentials.redact(&one_line(theirs)))
    }
}

impl CloudApi for Glesys {
    async fn details(&self) -> Result<Server, ApiFailure> {
        let function = Function::Details;
        // State fields come only with `includestate` (doc 2).
        let arguments = json!({"serverid": self.server_id, "includestate": "yes"});
        let answer = self.call(function, &arguments).await?;
        answer.server().map_err(|fault| {
            let fault = self.quoted(&fault);
            unknown(function, &format!("the answer cannot be used: {fault}"))
        })
    }

    async fn edit(&self, cores: u32) -> Result<(), ApiFailure> {
        // What is not sent stays as it is (doc 3).
        let arguments = json!({"serverid": self.server_id, "cpucores": cores});
        self.call(Function::Edit(cores), &arguments).await.map(drop)
    }

    async fn allowed_cores(&self, platform: &str) -> Result<Vec<u32>, ApiFailure> {
        let arguments = json!({"serverid": self.server_id});
        let answer = self.call(Function::AllowedArguments, &arguments).await?;
        Ok(answer.allowed_cores(platform))
    }
}

impl fmt::Debug for Glesys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Glesys")
            .field("url", &self.url.as_str())
            .field("server_id", &self.server_id)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

fn unknown(function: Function, what: &str) -> ApiFailure {
    ApiFailure {
        kind: FailureKind::Unknown,
        retry_after: None,
        message: format!("{function}: {what}{}", outcome(function)),
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// `Retry-After` in seconds or as a date, at most [`MAX_RETRY_AFTER`]. A date is measured from
/// the answer's own `Date`, so that a wrong clock here does not matter; without one it is ignored.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = header(headers, &RETRY_AFTER)?.trim();
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Too many digits to parse is more than the limit.
        value.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs)
    } else {
        let until = httpdate::parse_http_date(value).ok()?;
        let sent = httpdate::parse_http_date(header(headers, &DATE)?.trim()).ok()?;
        until.duration_since(sent).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(MAX_RETRY_AFTER))
}
