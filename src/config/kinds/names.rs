//! Names, addresses and paths.

use super::super::slot::{Fault, Kind, Written};
use super::{string, toml_string};
use std::net::IpAddr;
use std::path::PathBuf;

/// The name of a project or a server. Both end up in requests, where a colon would end a user
/// name, so only what such names are made of passes.
pub(in crate::config) struct Name;

impl Kind for Name {
    type Value = String;

    fn read(&self, written: &Written<'_>) -> Result<String, Vec<Fault>> {
        let text = string(written)?;
        if text.contains(':') {
            // As `curl -u` takes it: most likely the key follows the colon.
            let help = "the key goes into the file that api.key_file names, not here";
            return Err(vec![
                Fault::new(written, "more than a name").secret().help(help),
            ]);
        }
        if text.is_empty() {
            return Err(vec![Fault::new(written, "empty")]);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.@+".contains(c);
        if text.len() > 64 || !text.chars().all(allowed) {
            return Err(vec![Fault::new(written, "not a name")]);
        }
        Ok(text.to_owned())
    }

    fn write(&self, value: &String) -> String {
        toml_string(value)
    }

    fn allowed(&self) -> String {
        "1 to 64 letters, digits and -_.@+, no spaces".to_owned()
    }
}

/// The address of the API.
pub(in crate::config) struct ApiUrl;

impl ApiUrl {
    fn check(text: &str) -> Result<url::Url, &'static str> {
        // Before it is parsed: the parser here knows no international names, and takes some such
        // text for a mistake of its own.
        if !text.is_ascii() {
            return Err("a letter that no address has");
        }
        let url = url::Url::parse(text).map_err(|_| "not an address")?;
        let loopback = match url.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
            Some(url::Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
            None => false,
        };
        match url.scheme() {
            // Its parser drops or mends these silently; what is called should be what is written.
            _ if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') => {
                Err("not an address")
            }
            _ if !url.username().is_empty() || url.password().is_some() => {
                Err("a user name or password in the address")
            }
            _ if url.query().is_some() || url.fragment().is_some() => {
                Err("a query or fragment in the address")
            }
            "https" => Ok(url),
            "http" if loopback => Ok(url),
            "http" => Err("the key would be sent unencrypted"),
            _ => Err("neither https nor http"),
        }
    }
}

impl Kind for ApiUrl {
    type Value = String;

    fn read(&self, written: &Written<'_>) -> Result<String, Vec<Fault>> {
        let text = string(written)?;
        match ApiUrl::check(text) {
            Ok(url) => Ok(url.as_str().trim_end_matches('/').to_owned()),
            Err(problem) if text.contains('@') => {
                let help =
                    "the project is api.project, the key is in the file that api.key_file names";
                Err(vec![Fault::new(written, problem).secret().help(help)])
            }
            Err(problem) => Err(vec![Fault::new(written, problem)]),
        }
    }

    fn write(&self, value: &String) -> String {
        toml_string(value)
    }

    fn allowed(&self) -> String {
        "https://HOST[:PORT][/PATH]; http:// only to this machine (127.0.0.1, [::1], localhost)"
            .to_owned()
    }
}

/// A path. It has to look like one.
pub(in crate::config) struct FilePath {
    /// People may paste the key itself where the path of its file belongs. It is caught here,
    /// before some later message says that there is no file of that name.
    pub of_key: bool,
}

impl Kind for FilePath {
    type Value = PathBuf;

    fn read(&self, written: &Written<'_>) -> Result<PathBuf, Vec<Fault>> {
        let text = string(written)?;
        if text.contains(char::is_control) {
            return Err(vec![Fault::new(written, "not a path")]);
        }
        if !["/", "./", "../"]
            .iter()
            .any(|start| text.starts_with(start))
        {
            let problem = if text.is_empty() {
                "empty"
            } else {
                "not a path"
            };
            let fault = Fault::new(written, problem);
            return Err(vec![if self.of_key { fault.secret() } else { fault }]);
        }
        Ok(text.into())
    }

    fn write(&self, value: &PathBuf) -> String {
        toml_string(&value.to_string_lossy())
    }

    fn allowed(&self) -> String {
        "a path that begins with / or ./".to_owned()
    }
}

/// A path, or none.
pub(in crate::config) struct MaybePath;

impl MaybePath {
    const PATH: FilePath = FilePath { of_key: false };
}

impl Kind for MaybePath {
    type Value = Option<PathBuf>;

    fn read(&self, written: &Written<'_>) -> Result<Option<PathBuf>, Vec<Fault>> {
        match written.get_ref().as_str() {
            Some("") => Ok(None),
            _ => Self::PATH.read(written).map(Some),
        }
    }

    fn write(&self, value: &Option<PathBuf>) -> String {
        value
            .as_ref()
            .map_or("\"\"".to_owned(), |path| Self::PATH.write(path))
    }

    fn allowed(&self) -> String {
        format!("{}, or \"\" for none", Self::PATH.allowed())
    }
}
