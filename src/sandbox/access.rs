//! Who may call: API keys with their address list and their function list.

use super::function::Function;
use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// What the API says to a key that it does not accept.
pub(super) const AUTHENTICATION_FAILED: &str =
    "Authentication failed. Double check the username and key.";

/// An API key of one project.
#[derive(Clone)]
pub struct Key {
    secret: String,
    /// Where calls may come from.
    pub addresses: Vec<Network>,
    /// What may be called.
    pub functions: HashSet<Function>,
    /// Refused as if it did not exist.
    pub withdrawn: bool,
}

impl Key {
    /// A key as the control panel makes it: no addresses and no functions \[doc 1\].
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self {
            secret: secret.into(),
            addresses: Vec::new(),
            functions: HashSet::new(),
            withdrawn: false,
        }
    }

    /// A key for every function from this machine's loopback, by IPv4 and IPv6.
    #[must_use]
    pub fn for_loopback(secret: impl Into<String>) -> Self {
        let mut key = Self::new(secret);
        key.addresses = vec![Network::LOOPBACK_V4, Network::LOOPBACK_V6];
        key.functions = Function::ALL.into();
        key
    }

    /// Allows calls from `network` too.
    #[must_use]
    pub fn from(mut self, network: Network) -> Self {
        self.addresses.push(network);
        self
    }

    /// Allows `function` too.
    #[must_use]
    pub fn may(mut self, function: Function) -> Self {
        self.functions.insert(function);
        self
    }

    /// Allows everything but `function`, out of what was allowed so far.
    #[must_use]
    pub fn may_not(mut self, function: Function) -> Self {
        self.functions.remove(&function);
        self
    }

    pub(super) fn is(&self, secret: &str) -> bool {
        self.secret == secret
    }

    pub(super) fn allows_address(&self, peer: IpAddr) -> bool {
        self.addresses.iter().any(|n| n.contains(peer))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("secret", &"[REDACTED]")
            .field("addresses", &self.addresses)
            .field("functions", &self.functions)
            .field("withdrawn", &self.withdrawn)
            .finish()
    }
}

/// An entry of a key's address list: one address, or a network in CIDR notation.
///
/// The real list takes host names as well; here they are refused when parsing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// `127.0.0.0/8`
    pub const LOOPBACK_V4: Self = Self {
        address: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        prefix: 8,
    };
    /// `::1`
    pub const LOOPBACK_V6: Self = Self {
        address: IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        prefix: 128,
    };

    /// Whether `address` lies within. An IPv4 address that arrives mapped into IPv6 counts as
    /// IPv4, since a listener on `::` sees it so.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let differing = ours.to_bits() ^ theirs.to_bits();
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let differing = ours.to_bits() ^ theirs.to_bits();
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }
}

/// Text that is neither an address nor a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no IP address and no network such as 192.0.2.0/24 or 2001:db8::/32")]
pub struct NotANetwork(String);

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let wrong = || NotANetwork(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| wrong())?,
            None => longest,
        };
        if prefix > longest {
            return Err(wrong());
        }
        Ok(Self { address, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_what_they_should() {
        for (network, address, inside) in [
            ("192.0.2.10", "192.0.2.10", true),
            ("192.0.2.10", "192.0.2.11", false),
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.77/24", "192.0.2.1", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("0.0.0.0/0", "::ffff:203.0.113.9", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db9::1", true),
            ("::1", "::1", true),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert_eq!(
                parsed.contains(address.parse().unwrap()),
                inside,
                "{address} in {network}"
            );
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "example.com",
            "192.0.2.0/33",
            "::/129",
            "192.0.2.0/",
            "192.0.2.0/-1",
            "/8",
        ] {
            assert_eq!(text.parse::<Network>(), Err(NotANetwork(text.to_owned())));
        }
    }
}
