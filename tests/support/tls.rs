//! A private certificate authority, and servers that it vouches for.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::sync::Arc;

/// A certificate authority that nobody trusts unless told to.
pub struct PrivateCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl PrivateCa {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).unwrap(),
        }
    }

    /// The root certificate, for `api.ca_file`.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A server with a certificate for these host names and addresses.
    pub fn server(&self, names: &[&str]) -> Arc<ServerConfig> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        self.server_with(CertificateParams::new(names).unwrap())
    }

    /// A server with a certificate made after `params`, such as an expired one.
    pub fn server_with(&self, params: CertificateParams) -> Arc<ServerConfig> {
        let resolver = SingleCertAndKey::from(self.certified(params));
        Self::server_that_shows(Arc::new(resolver))
    }

    /// A certificate made after `params`, with its key.
    pub fn certified(&self, params: CertificateParams) -> CertifiedKey {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let chain = vec![certificate.der().clone()];
        CertifiedKey::from_der(chain, key, &ring::default_provider()).unwrap()
    }

    /// A server that shows what `certificates` says at each connection.
    pub fn server_that_shows(certificates: Arc<dyn ResolvesServerCert>) -> Arc<ServerConfig> {
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(certificates);
        Arc::new(config)
    }
}
