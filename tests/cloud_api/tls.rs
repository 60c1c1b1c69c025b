//! Certificates: whom the client trusts, and what it says of whom it does not.

use crate::server::{Reply, Server};
use crate::{fixture, options};
use glesys_autoscaler::adapters::glesys::{BuildError, Glesys};
use glesys_autoscaler::engine::cloud::{ApiFailure, FailureKind, Server as Details};
use glesys_autoscaler::ports::CloudApi;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

/// A private certificate authority, and its root certificate in a file.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("root.pem"), issuer.pem()).unwrap();
        Authority { issuer, directory }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root.pem")
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A server with a certificate for `name`, valid in these years.
    async fn serve(&self, name: &str, years: RangeInclusive<i32>) -> Server {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(*years.start(), 1, 1);
        params.not_after = date_time_ymd(*years.end(), 12, 31);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
        let reply = Reply::ok(&fixture("details_running.json"));
        Server::start_tls(TlsAcceptor::from(Arc::new(config)), reply).await
    }
}

async fn details(server: &Server, ca_file: Option<&Path>) -> Result<Details, ApiFailure> {
    let mut options = options(&format!("https://localhost:{}", server.address.port()));
    options.ca_file = ca_file.map(Path::to_owned);
    Glesys::new(options).unwrap().details().await
}

#[tokio::test]
async fn a_private_authority_is_trusted_by_its_file() {
    let authority = Authority::new("Own CA");
    let server = authority.serve("localhost", 2000..=2999).await;
    let trusted = details(&server, Some(&authority.root())).await;
    assert_eq!(trusted.unwrap().cores, 2);

    let other = Authority::new("Other CA");
    let both = authority.write("both.pem", &(other.issuer.pem() + &authority.issuer.pem()));
    assert_eq!(details(&server, Some(&both)).await.unwrap().cores, 2);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_certificate_that_does_not_hold_is_named_and_nothing_is_sent() {
    let authority = Authority::new("Own CA");
    let stranger = Authority::new("Other CA");
    let namesake = Authority::new("Own CA");
    let good = authority.serve("localhost", 2000..=2999).await;
    let expired = authority.serve("localhost", 2000..=2020).await;
    let misnamed = authority.serve("api.example.com", 2000..=2999).await;
    let early = authority.serve("localhost", 2998..=2999).await;
    for (server, root, says) in [
        (&early, authority.root(), "not valid yet"),
        (&good, stranger.root(), "unknown issuer"),
        (&good, namesake.root(), "not signed by the root"),
        (&expired, authority.root(), "has expired"),
        (&misnamed, authority.root(), "for another name"),
    ] {
        let failure = details(server, Some(&root)).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unavailable, "{failure:?}");
        assert!(failure.message.contains(says), "{failure:?}");
        assert!(failure.message.contains("its certificate"), "{failure:?}");
        assert!(failure.message.contains("localhost:"), "{failure:?}");
        assert!(!failure.message.contains('\n'), "{failure:?}");
        assert_eq!(server.requests().len(), 0);
    }
}

#[tokio::test]
async fn a_port_without_tls_is_recognised() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut greeting = [0; 16];
        tokio::io::AsyncReadExt::read(&mut stream, &mut greeting)
            .await
            .unwrap();
        let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut stream, answer)
            .await
            .unwrap();
        std::future::pending::<()>().await;
    });
    let api = Glesys::new(options(&url)).unwrap();
    let failure = api.details().await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert!(
        failure.message.contains("does not speak TLS"),
        "{failure:?}"
    );
}

#[test]
fn a_ca_file_that_is_none_is_refused() {
    let authority = Authority::new("Own CA");
    let key = KeyPair::generate().unwrap().serialize_pem();
    let fake = "-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n";
    for (path, says) in [
        (
            authority.directory.path().join("none.pem"),
            "cannot be read",
        ),
        (authority.directory.path().to_owned(), "not a regular file"),
        (authority.write("empty.pem", ""), "holds no certificate"),
        (
            authority.write("text.pem", "certificate\n"),
            "holds no certificate",
        ),
        (authority.write("key.pem", &key), "holds no certificate"),
        (
            authority.write("fake.pem", fake),
            "cannot be used as a root",
        ),
        (
            authority.write(
                "cut.pem",
                "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n",
            ),
            "is not PEM",
        ),
    ] {
        let mut options = options("https://api.glesys.com");
        options.ca_file = Some(path.clone());
        let error = Glesys::new(options).unwrap_err();
        assert!(matches!(error, BuildError::CaFile { .. }), "{error:?}");
        let message = error.to_string();
        assert!(message.contains(says), "{message}");
        assert!(message.contains(&path.display().to_string()), "{message}");
    }
}
