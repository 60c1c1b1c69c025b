//! Options that no client is built from.

use crate::options;
use glesys_autoscaler::adapters::glesys::{AddressFamily, BuildError, Glesys};
use std::time::Duration;

fn refusal(url: &str) -> Option<String> {
    match Glesys::new(options(url)) {
        Ok(_) => None,
        Err(error) => {
            assert!(matches!(error, BuildError::Url { .. }), "{error:?}");
            Some(error.to_string())
        }
    }
}

#[test]
fn https_anywhere_and_plain_http_on_this_machine_only() {
    for url in [
        "https://api.glesys.com",
        "https://api.glesys.com/",
        "HTTPS://API.GLESYS.COM:443/v2",
        "https://192.0.2.1",
        "https://[2001:db8::1]",
        "http://127.0.0.1:8080",
        "http://127.9.9.9",
        "http://[::1]:8080",
        "http://localhost:8080",
        "http://LOCALHOST",
    ] {
        assert_eq!(refusal(url), None, "{url}");
    }
    for url in [
        "http://api.glesys.com",
        "http://192.168.0.1",
        "http://10.0.0.1:80",
        "http://0.0.0.0",
        "http://[::]",
        "http://[::ffff:127.0.0.1]",
        "http://[fe80::1]",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "http://my.localhost",
    ] {
        let message = refusal(url).unwrap_or_else(|| panic!("{url} is accepted"));
        assert!(message.contains("use https"), "{message}");
        assert!(message.contains("api.url"), "{message}");
    }
}

#[test]
fn a_url_is_a_scheme_a_host_a_port_and_a_path() {
    for (url, says) in [
        ("", "is not a URL"),
        ("api.glesys.com", "is not a URL"),
        ("https://", "is not a URL"),
        ("ftp://api.glesys.com", "neither https nor http"),
        ("file:///etc/passwd", "names no host"),
        ("unix:/run/x", "names no host"),
        ("https://api.glesys.com/?format=json", "query or fragment"),
        ("https://api.glesys.com/#x", "query or fragment"),
        ("https://cl12345@api.glesys.com", "user or password"),
    ] {
        let message = refusal(url).unwrap_or_else(|| panic!("{url} is accepted"));
        assert!(message.contains(says), "{url}: {message}");
    }
}

#[test]
fn a_secret_in_the_url_is_not_repeated() {
    for url in [
        "https://cl12345:hunter2@api.glesys.com",
        "https://cl12345:hunter2@@@",
        "http://x?key=hunter2",
        "https://api.glesys.com/?key=hunter2",
        "https://api.glesys.com/#hunter2",
    ] {
        let message = refusal(url).unwrap_or_else(|| panic!("{url} is accepted"));
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn an_address_of_the_family_that_is_left_out() {
    for (url, family, fits) in [
        ("https://192.0.2.1", AddressFamily::Ipv4, true),
        ("https://192.0.2.1", AddressFamily::Ipv6, false),
        ("https://[2001:db8::1]", AddressFamily::Ipv6, true),
        ("https://[2001:db8::1]", AddressFamily::Ipv4, false),
        ("https://[2001:db8::1]", AddressFamily::Any, true),
        ("http://[::1]", AddressFamily::Ipv4, false),
        ("https://api.glesys.com", AddressFamily::Ipv6, true),
    ] {
        let mut options = options(url);
        options.address_family = family;
        let built = Glesys::new(options);
        let refused = matches!(built, Err(BuildError::AddressFamily { .. }));
        assert_eq!((built.is_ok(), refused), (fits, !fits), "{url} {family:?}");
    }
}

#[test]
fn empty_or_impossible_values() {
    let url = "https://api.glesys.com";
    for project in ["", "cl12345:x", "cl\n12345"] {
        let mut options = options(url);
        options.project = project.to_owned();
        let error = Glesys::new(options).unwrap_err();
        assert!(matches!(error, BuildError::Project { .. }), "{error:?}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    for server_id in ["", "kvm123456\n"] {
        let mut options = options(url);
        options.server_id = server_id.to_owned();
        let error = Glesys::new(options).unwrap_err();
        assert!(matches!(error, BuildError::ServerId { .. }), "{error:?}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    let mut endless = options(url);
    endless.timeout = Duration::MAX;
    assert!(Glesys::new(endless).is_ok());
    let mut no_time = options(url);
    no_time.timeout = Duration::ZERO;
    assert!(matches!(Glesys::new(no_time), Err(BuildError::Timeout)));
}
