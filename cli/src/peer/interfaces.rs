//! The addresses of this machine that make host candidates.

use std::io;
use std::net::IpAddr;

/// Addresses that are used at most; each costs one socket per connection.
pub const MAX_ADDRESSES: usize = 16;

/// The addresses to gather host candidates on.
///
/// `with_loopback` adds the loopback addresses; they are also the answer when there is nothing
/// else, so that two peers on a machine without a network find each other.
///
/// # Errors
/// When the operating system does not list its interfaces.
pub fn host_addresses(with_loopback: bool) -> io::Result<Vec<IpAddr>> {
    let all = if_addrs::get_if_addrs()?;
    Ok(select(
        all.into_iter().map(|interface| interface.ip()),
        with_loopback,
    ))
}

/// Which of a machine's addresses are used, in order of preference.
fn select(all: impl IntoIterator<Item = IpAddr>, with_loopback: bool) -> Vec<IpAddr> {
    let mut routable = Vec::new();
    let mut loopback = Vec::new();
    for address in all {
        if !is_usable(address) {
            continue;
        }
        let list = if address.is_loopback() {
            &mut loopback
        } else {
            &mut routable
        };
        if !list.contains(&address) {
            list.push(address);
        }
    }
    if with_loopback || routable.is_empty() {
        routable.append(&mut loopback);
    }
    routable.truncate(MAX_ADDRESSES);
    routable
}

/// Link-local addresses need a scope that a candidate cannot carry.
fn is_usable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !v4.is_unspecified() && !v4.is_link_local() && !v4.is_multicast() && !v4.is_broadcast()
        }
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_unicast_link_local() && !v6.is_multicast(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn loopback_only_on_request_or_when_alone() {
        let all = addresses(&["127.0.0.1", "::1", "192.0.2.7", "fd00::2"]);
        assert_eq!(select(all.clone(), false), addresses(&["192.0.2.7", "fd00::2"]));
        assert_eq!(
            select(all, true),
            addresses(&["192.0.2.7", "fd00::2", "127.0.0.1", "::1"])
        );
        assert_eq!(
            select(addresses(&["127.0.0.1"]), false),
            addresses(&["127.0.0.1"])
        );
    }

    #[test]
    fn link_local_addresses_do_not_count() {
        let all = addresses(&["fe80::1", "169.254.3.4", "127.0.0.1"]);
        assert_eq!(select(all, false), addresses(&["127.0.0.1"]));
    }

    #[test]
    fn the_list_is_bounded_and_without_doubles() {
        let mut all: Vec<IpAddr> = (0..40u8).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        all.push(IpAddr::from([10, 0, 0, 0]));
        let selected = select(all, false);
        assert_eq!(selected.len(), MAX_ADDRESSES);
        assert_eq!(
            selected
                .iter()
                .filter(|a| **a == IpAddr::from([10, 0, 0, 0]))
                .count(),
            1
        );
    }

    #[test]
    fn this_machine_has_an_address() {
        assert!(!host_addresses(true).unwrap().is_empty());
    }
}
