use std::net::IpAddr;
use std::path::Path;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::building::{BuildError, read_up_to};

/// A set of networks: sorted, none within another, so that one search finds the only one that an address can be in.
#[derive(Debug, Default)]
pub(super) struct Networks {
    v4: Box<[Ipv4Net]>,
    v6: Box<[Ipv6Net]>,
}

/// Bytes of the longest file: more than half a million networks.
const LONGEST: u64 = 16 * 1024 * 1024;

/// Lines of one file that are told of at most.
const TOLD: usize = 10;

impl Networks {
    /// The set of all these.
    pub(super) fn new(all: &[IpNet]) -> Self {
        let v4: Vec<_> = all.iter().filter_map(|net| if let IpNet::V4(net) = net { Some(*net) } else { None }).collect();
        let v6: Vec<_> = all.iter().filter_map(|net| if let IpNet::V6(net) = net { Some(*net) } else { None }).collect();
        Self { v4: Ipv4Net::aggregate(&v4).into(), v6: Ipv6Net::aggregate(&v6).into() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether an address is in one of them. One of IPv4 that is written in IPv6 counts as what it is.
    pub(super) fn contain(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => before(&self.v4, |net| net.network() <= address).is_some_and(|net| net.contains(&address)),
            IpAddr::V6(address) => before(&self.v6, |net| net.network() <= address).is_some_and(|net| net.contains(&address)),
        }
    }

    /// Whether a whole network is in them.
    pub(super) fn cover(&self, net: &IpNet) -> bool {
        match net {
            IpNet::V4(net) => before(&self.v4, |own| own.network() <= net.network()).is_some_and(|own| own.contains(net)),
            IpNet::V6(net) => before(&self.v6, |own| own.network() <= net.network()).is_some_and(|own| own.contains(net)),
        }
    }
}

/// The last of a sorted list that still begins before what is looked for.
fn before<T>(sorted: &[T], begins: impl FnMut(&T) -> bool) -> Option<&T> {
    sorted.get(sorted.partition_point(begins).checked_sub(1)?)
}

/// A network in CIDR notation, or one address.
///
/// # Errors
/// It is neither, or says two things at once.
pub(super) fn parse(text: &str) -> Result<IpNet, BuildError> {
    let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let Some(net) = net else {
        let fix = "write an address and the length of its prefix, like `10.0.0.0/8` or `2001:db8::/32`, or an address alone";
        return Err(BuildError::new(format!("`{text}` is no network"), fix));
    };
    if net.addr() != net.network() {
        let fix = format!("write `{}` for the network, or `{}` for this address alone", net.trunc(), net.addr());
        return Err(BuildError::new(format!("`{text}` names an address and a network around it"), fix));
    }
    Ok(match net {
        IpNet::V6(mapped) if mapped.prefix_len() >= 96 => {
            let inside = mapped.addr().to_ipv4_mapped().and_then(|address| Ipv4Net::new(address, mapped.prefix_len() - 96).ok());
            inside.map_or(net, IpNet::V4)
        }
        _ => net,
    })
}

/// The networks of a file, one a line with comments behind `#` or `;`, and what is wrong with it.
pub(super) fn read(folder: &Path, name: &str) -> (Vec<IpNet>, Vec<BuildError>) {
    let text = read_up_to(folder, name, LONGEST).and_then(|bytes| {
        let wrong = |_| BuildError::new(format!("{name} is no text"), "write one network a line, like `10.0.0.0/8`");
        String::from_utf8(bytes).map_err(wrong)
    });
    let text = match text {
        Ok(text) => text,
        Err(error) => return (Vec::new(), vec![error]),
    };
    let (mut networks, mut wrong) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        let bare = line.split(['#', ';']).next().unwrap_or_default().trim();
        match parse(bare) {
            _ if bare.is_empty() => {}
            Ok(net) => networks.push(net),
            Err(error) => wrong.push(BuildError { reason: format!("{name}:{}: {}", number + 1, error.reason), ..error }),
        }
    }
    if wrong.len() > TOLD {
        let reason = format!("{name}: {} more lines are no networks", wrong.len() - TOLD);
        wrong.truncate(TOLD);
        wrong.push(BuildError::new(reason, "write one network a line, with comments behind `#`"));
    }
    (networks, wrong)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::Ipv4Addr;

    use super::*;

    fn networks(all: &[&str]) -> Networks {
        Networks::new(&all.iter().map(|text| parse(text).unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn an_address_is_in_a_network_from_its_first_to_its_last() {
        let networks = networks(&["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "203.0.113.0/25", "203.0.113.128/26", "10.9.0.0/16"]);
        for inside in ["10.0.0.0", "10.255.255.255", "192.0.2.7", "2001:db8::", "2001:db8:ffff::1", "203.0.113.191", "::ffff:10.1.2.3"] {
            assert!(networks.contain(inside.parse().unwrap()), "{inside}");
        }
        for outside in
            ["9.255.255.255", "11.0.0.0", "192.0.2.6", "192.0.2.8", "2001:db7:ffff::", "2001:db9::", "203.0.113.192", "::10.1.2.3"]
        {
            assert!(!networks.contain(outside.parse().unwrap()), "{outside}");
        }
        assert!(!Networks::default().contain("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn everyone_of_one_family_is_nobody_of_the_other() {
        let (four, six) = (networks(&["0.0.0.0/0"]), networks(&["::/0"]));
        let (old, new, mapped) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap(), "::ffff:192.0.2.1".parse().unwrap());
        assert!(four.contain(old) && four.contain(mapped) && !four.contain(new));
        assert!(six.contain(new) && !six.contain(old) && !six.contain(mapped));
    }

    #[test]
    fn ipv4_written_in_ipv6_is_ipv4() {
        assert_eq!(parse("::ffff:10.0.0.0/104").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(parse("::ffff:192.0.2.7").unwrap().to_string(), "192.0.2.7/32");
        assert_eq!(
            parse("::ffff:0:0/95").unwrap_err().fix,
            "write `::fffe:0:0/95` for the network, or `::ffff:0.0.0.0` for this address alone"
        );
    }

    #[test]
    fn what_is_no_network_is_told_with_the_way_to_mend_it() {
        for text in
            ["10.0.0.0/33", "10.0.0/8", "10.0.0.256", "010.0.0.1", "host", "", "2001:db8::/129", "fe80::1%eth0", "10.0.0.0/255.0.0.0"]
        {
            assert_eq!(parse(text).unwrap_err().reason, format!("`{text}` is no network"));
        }
        let error = parse("10.1.2.3/8").unwrap_err();
        assert_eq!(error.reason, "`10.1.2.3/8` names an address and a network around it");
        assert_eq!(error.fix, "write `10.0.0.0/8` for the network, or `10.1.2.3` for this address alone");
    }

    #[test]
    fn a_hundred_thousand_networks_are_searched_as_each_one_would_be() {
        const FIRST: u32 = 0x6440_0000;
        // One in each 64 addresses, in an order that is none.
        let places: Vec<u32> = (0..100_000u64).map(|number| u32::try_from(number * 77_777 % 100_003).unwrap()).collect();
        let width = |place: u32| if place.is_multiple_of(3) { 32 } else { 1 };
        let net = |place: &u32| Ipv4Net::new((FIRST + place * 64).into(), if width(*place) == 32 { 27 } else { 32 }).unwrap();
        let networks = Networks::new(&places.iter().map(|place| IpNet::V4(net(place))).collect::<Vec<_>>());
        let listed: HashSet<u32> = places.iter().copied().collect();
        let mut inside = 0;
        for probe in (0..100_010 * 64).step_by(61) {
            let expected = listed.contains(&(probe / 64)) && probe % 64 < width(probe / 64);
            inside += u32::from(expected);
            assert_eq!(networks.contain(Ipv4Addr::from(FIRST + probe).into()), expected, "{probe}");
        }
        assert!(inside > 10_000, "{inside}");
    }
}
