//! Name lookup that keeps to the address family which the key's address list knows.

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, SocketAddr};

/// Which addresses of the API to use. The key's address list decides which one works: a machine
/// with both families may leave by IPv6 while only its IPv4 address is listed
/// (`glesys-api.md` section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressFamily {
    /// Whichever answers first.
    #[default]
    Any,
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
}

impl AddressFamily {
    pub(super) fn admits(self, address: IpAddr) -> bool {
        match self {
            AddressFamily::Any => true,
            AddressFamily::Ipv4 => address.is_ipv4(),
            AddressFamily::Ipv6 => address.is_ipv6(),
        }
    }
}

/// The system's resolver, less the addresses of the other family.
pub(super) struct PinnedResolver {
    pub(super) family: AddressFamily,
    /// Plain http: whatever the resolver says of `localhost`, nothing leaves the machine.
    pub(super) loopback_only: bool,
}

/// The name exists, but has no address that may be used.
#[derive(Debug, thiserror::Error)]
#[error("{name} resolves to {found} addresses, none of them {wanted}; see api.address_family")]
struct NoAddress {
    name: String,
    found: usize,
    wanted: &'static str,
}

impl Resolve for PinnedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (family, loopback_only) = (self.family, self.loopback_only);
        Box::pin(async move {
            let name = name.as_str().to_owned();
            // Port 0: reqwest puts the port of the URL in its place.
            let all: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let found = all.len();
            let usable = usable(all, family, loopback_only);
            if usable.is_empty() {
                let wanted = match family {
                    _ if loopback_only => "a loopback address of the family asked for",
                    AddressFamily::Any => "usable",
                    AddressFamily::Ipv4 => "IPv4",
                    AddressFamily::Ipv6 => "IPv6",
                };
                return Err(NoAddress {
                    name,
                    found,
                    wanted,
                }
                .into());
            }
            Ok(Box::new(usable.into_iter()) as Addrs)
        })
    }
}

fn usable(mut all: Vec<SocketAddr>, family: AddressFamily, loopback_only: bool) -> Vec<SocketAddr> {
    all.retain(|a| family.admits(a.ip()) && (!loopback_only || a.ip().is_loopback()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pinned_family_and_for_plain_http_only_loopback() {
        let all = ["192.0.2.1:0", "[2001:db8::1]:0", "127.0.0.1:0", "[::1]:0"];
        for (family, loopback_only, expected) in [
            (AddressFamily::Any, false, &[0, 1, 2, 3][..]),
            (AddressFamily::Ipv4, false, &[0, 2]),
            (AddressFamily::Ipv6, false, &[1, 3]),
            (AddressFamily::Any, true, &[2, 3]),
            (AddressFamily::Ipv4, true, &[2]),
            (AddressFamily::Ipv6, true, &[3]),
        ] {
            let addresses: Vec<SocketAddr> = all.iter().map(|a| a.parse().unwrap()).collect();
            let expected: Vec<SocketAddr> = expected.iter().map(|i| addresses[*i]).collect();
            assert_eq!(usable(addresses, family, loopback_only), expected);
        }
    }
}
