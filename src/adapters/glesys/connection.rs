//! How the API is reached: the URL, the trusted certificates, and an HTTP client that does
//! nothing on its own.

use super::resolver::{AddressFamily, PinnedResolver};
use reqwest::{Certificate, Client, Url};
use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The most bytes of a CA file; the whole store of a distribution has some 250 KiB.
const MAX_CA_FILE: u64 = 4 * 1024 * 1024;

/// Why no client could be built: a configuration error, with what mends it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// `api.url` cannot be used.
    #[error("api.url {url:?} {fault}")]
    Url {
        /// The URL, left out where it holds what may be a secret.
        url: String,
        /// What is wrong with it, and what mends it.
        fault: &'static str,
    },
    /// The URL names an address of the family that is switched off.
    #[error(
        "api.url names the address {address}, which api.address_family leaves out; change one of them"
    )]
    AddressFamily {
        /// The address in the URL.
        address: IpAddr,
    },
    /// Empty, or not usable as the user name of HTTP Basic.
    #[error(
        "api.project {project:?} is no project: it must be the name of the project that the key belongs to, such as cl12345, without a colon"
    )]
    Project {
        /// As configured.
        project: String,
    },
    /// Empty, or more than one line.
    #[error(
        "api.server_id {server_id:?} is no server id; put the id of this server there, such as kvm1234567"
    )]
    ServerId {
        /// As configured.
        server_id: String,
    },
    /// Zero.
    #[error("api.timeout is zero; use 10s or more, since a call takes longer on a busy machine")]
    Timeout,
    /// The extra root certificate cannot be used.
    #[error("api.ca_file {} {fault}", path.display())]
    CaFile {
        /// As configured.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// There is nothing to check the API's certificate against.
    #[error(
        "no trusted root certificates on this machine; install them (`apt install ca-certificates`), or name a file with api.ca_file"
    )]
    NoCaStore,
    /// The TLS or HTTP library refused.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(String),
}

/// A URL that may be called: https, or plain http to this machine only, and nothing in it but host,
/// port and path.
pub(super) fn checked_url(text: &str, family: AddressFamily) -> Result<Url, BuildError> {
    let fault = |fault| BuildError::Url {
        // A secret has no place in a URL, but is met there: before an `@` or in a query.
        url: match text.contains(['@', '?', '#']) {
            true => "(not shown)".to_owned(),
            false => text.to_owned(),
        },
        fault,
    };
    let url = Url::parse(text.trim())
        .map_err(|_| fault("is not a URL; the provider's is https://api.glesys.com"))?;
    let Some(host) = url.host_str() else {
        return Err(fault(
            "names no host; the provider's is https://api.glesys.com",
        ));
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(fault(
            "holds a user or password; put the user into api.project and the key into its file",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(fault(
            "holds a query or fragment; leave out everything from the ? or # on",
        ));
    }
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let is_loopback = host == "localhost" || address.is_some_and(|a| a.is_loopback());
    match url.scheme() {
        "https" => {}
        "http" if is_loopback => {}
        "http" => {
            return Err(fault(
                "would send the key unencrypted; use https (plain http is for 127.0.0.1, [::1] and localhost only)",
            ));
        }
        _ => {
            return Err(fault(
                "is neither https nor http; the provider's is https://api.glesys.com",
            ));
        }
    }
    match address {
        Some(address) if !family.admits(address) => Err(BuildError::AddressFamily { address }),
        _ => Ok(url),
    }
}

/// A client that connects anew for each call, follows nothing, repeats nothing and takes no way
/// round by a proxy. Its checks of certificates cannot be switched off.
pub(super) fn client(
    url: &Url,
    family: AddressFamily,
    ca_file: Option<&Path>,
    timeout: Duration,
) -> Result<Client, BuildError> {
    if timeout.is_zero() {
        return Err(BuildError::Timeout);
    }
    // Fails where a provider is already installed, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let https = url.scheme() == "https";
    let mut builder = Client::builder()
        .user_agent(concat!("glesys-autoscaler/", env!("CARGO_PKG_VERSION")))
        .https_only(https)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        // Calls are minutes apart: a stale pooled connection would fail the one that matters.
        .pool_max_idle_per_host(0)
        // A proxy changes the source address, which the key is bound to; and reqwest obeys
        // HTTPS_PROXY even with its system-proxy feature off.
        .no_proxy()
        .timeout(timeout)
        .connect_timeout(connect_timeout(timeout))
        .dns_resolver(PinnedResolver {
            family,
            loopback_only: !https,
        });
    if let Some(path) = ca_file {
        builder = builder.tls_certs_merge(certificates(path)?);
    }
    builder.build().map_err(|error| {
        let cause = innermost(&error);
        match ca_file {
            _ if cause.contains("No CA certificates") => BuildError::NoCaStore,
            Some(path) => BuildError::CaFile {
                path: path.to_owned(),
                fault: format!("holds a certificate that cannot be used as a root: {cause}"),
            },
            None => BuildError::Client(cause),
        }
    })
}

/// Shorter than the whole call, so that a connection that does not come about ends as "surely not
/// sent" and never as "outcome unknown".
pub(super) fn connect_timeout(timeout: Duration) -> Duration {
    timeout / 4 * 3
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, BuildError> {
    let fault = |fault: String| BuildError::CaFile {
        path: path.to_owned(),
        fault,
    };
    let pem = read_regular(path).map_err(|e| fault(format!("cannot be read: {e}")))?;
    let certificates = Certificate::from_pem_bundle(&pem)
        .map_err(|_| fault("is not PEM; it must hold a root certificate in PEM form".to_owned()))?;
    if certificates.is_empty() {
        return Err(fault(
            "holds no certificate; it must hold a root certificate in PEM form (-----BEGIN CERTIFICATE-----)".to_owned(),
        ));
    }
    Ok(certificates)
}

fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if metadata.len() > MAX_CA_FILE {
        return Err(io::Error::other("it is too big for a file of certificates"));
    }
    let mut pem = Vec::new();
    File::open(path)?.take(MAX_CA_FILE).read_to_end(&mut pem)?;
    Ok(pem)
}

/// What the innermost error says; the outer ones only say where.
fn innermost(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
