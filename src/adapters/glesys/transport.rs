//! Calls that brought no whole answer: whether the request may have arrived, and why not.

use super::connection::connect_timeout;
use super::failure::{Function, outcome};
use crate::adapters::text::one_line;
use crate::engine::cloud::FailureKind;
use rustls::CertificateError;
use std::error::Error;
use std::io;
use std::time::Duration;

/// Sorts a failed call to `host`, and says in one line what happened. Only a connection that did
/// not come about is surely not a request that arrived.
pub(super) fn sort(
    function: Function,
    host: &str,
    timeout: Duration,
    error: reqwest::Error,
) -> (FailureKind, String) {
    let error = error.without_url();
    let late = error.is_timeout();
    if error.is_connect() || error.is_builder() {
        let why = match certificate_fault(&error) {
            Some(fault) => format!("{function}: no secure connection to {host}: {fault}"),
            None if late => format!(
                "{function}: no connection to {host} within {:?}; check the network and the firewall",
                connect_timeout(timeout)
            ),
            None => format!("{function}: no connection to {host}: {}", cause(&error)),
        };
        return (FailureKind::Unavailable, one_line(&why));
    }
    let why = if late {
        format!("{function}: no whole answer from {host} within {timeout:?}")
    } else {
        format!(
            "{function}: the connection to {host} broke: {}",
            cause(&error)
        )
    };
    (FailureKind::Unknown, one_line(&why) + outcome(function))
}

/// Every error of the chain, from the outside in.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| inner(*error))
}

/// An `io::Error` does not name the error that it wraps as its source, so it is asked apart.
fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    }
}

fn cause(error: &(dyn Error + 'static)) -> String {
    chain(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// What is wrong with the other side's certificate or its TLS, with the mend.
fn certificate_fault(error: &(dyn Error + 'static)) -> Option<String> {
    let tls = chain(error).find_map(|e| e.downcast_ref::<rustls::Error>())?;
    let rustls::Error::InvalidCertificate(fault) = tls else {
        return Some(match tls {
            rustls::Error::InvalidMessage(_) => {
                "it does not speak TLS on this port; check api.url".to_owned()
            }
            other => other.to_string(),
        });
    };
    Some(match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired; if it has not, this machine's clock is wrong".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet: this machine's clock is wrong, or the certificate is"
                .to_owned()
        }
        CertificateError::UnknownIssuer => {
            "its certificate is signed by an unknown issuer; install ca-certificates, or name the \
             root certificate with api.ca_file"
                .to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("its certificate is for another name; check api.url ({fault})")
        }
        CertificateError::BadSignature => {
            "its certificate is not signed by the root certificate of that name; api.ca_file is \
             outdated or another one's"
                .to_owned()
        }
        other => format!("its certificate cannot be trusted: {other}"),
    })
}
