//! Which IP addresses a tool may connect to. Pure: IANA's special-purpose registries, read as "who could be meant".

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is not to be connected to; `None`: it may be. `allow_private` lets in what a machine's owner may mean
/// (loopback, private networks, shared address space) and nothing else: cloud metadata and the like are refused always.
pub(crate) fn refusal(ip: IpAddr, allow_private: bool) -> Option<&'static str> {
    match kind(ip) {
        Kind::Public => None,
        Kind::Private(_) if allow_private => None,
        Kind::Private(what) | Kind::Never(what) => Some(what),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Public,
    /// Refused unless the deployment says otherwise.
    Private(&'static str),
    /// Refused always.
    Never(&'static str),
}

const METADATA: Kind = Kind::Never("a metadata service of a cloud");
const DOCUMENTATION: Kind = Kind::Never("reserved for documentation");

fn kind(ip: IpAddr) -> Kind {
    match ip {
        IpAddr::V4(ip) => kind_v4(ip),
        IpAddr::V6(ip) => kind_v6(ip),
    }
}

fn kind_v4(ip: Ipv4Addr) -> Kind {
    match ip.octets() {
        // Alibaba's and Azure's are in ranges that are otherwise private, or public.
        [100, 100, 100, 200] | [168, 63, 129, 16] => METADATA,
        [0, ..] => Kind::Never("unspecified"),
        [127, ..] => Kind::Private("loopback"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Kind::Private("private"),
        [100, 64..=127, ..] => Kind::Private("shared address space (CGNAT)"),
        [169, 254, ..] => Kind::Never("link-local"), // 169.254.169.254 among them
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => DOCUMENTATION,
        [192, 0, 0, _] | [192, 88, 99, _] => Kind::Never("reserved for protocols"),
        [198, 18..=19, ..] => Kind::Never("reserved for benchmarks"),
        [224..=239, ..] => Kind::Never("multicast"),
        [240..=255, ..] => Kind::Never("reserved"), // 255.255.255.255 among them
        _ => Kind::Public,
    }
}

fn kind_v6(ip: Ipv6Addr) -> Kind {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    match [a, b, c, d, e, f, g, h] {
        [0, 0, 0, 0, 0, 0, 0, 0] => Kind::Never("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Kind::Private("loopback"),
        // An IPv4 address in IPv6's clothes is what it is: mapped, compatible, NAT64, 6to4.
        [0, 0, 0, 0, 0, 0xffff, g, h] | [0, 0, 0, 0, 0, 0, g, h] | [0x64, 0xff9b, 0, 0, 0, 0, g, h] => {
            kind_v4(embedded(g, h))
        }
        [0x2002, b, c, ..] => kind_v4(embedded(b, c)),
        [0x64, 0xff9b, ..] => Kind::Never("a translation within a network (NAT64)"),
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => METADATA,
        [0xfc00..=0xfdff, ..] => Kind::Private("private"),
        [0xfe80..=0xfebf, ..] => Kind::Never("link-local"),
        [0xfec0..=0xfeff, ..] => Kind::Never("site-local"),
        [0xff00..=0xffff, ..] => Kind::Never("multicast"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => DOCUMENTATION,
        [0x2001, 0..=0x1ff, ..] => Kind::Never("reserved for protocols"), // Teredo among them
        [0x2000..=0x3fff, ..] => Kind::Public,
        _ => Kind::Never("not an address of the Internet"),
    }
}

fn embedded(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ip: &str) -> Kind {
        kind(ip.parse().unwrap())
    }

    #[test]
    fn public_addresses_are_let_in() {
        for ip in [
            "1.1.1.1",
            "8.8.8.8",
            "93.184.215.14",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "169.253.1.1",
            "192.1.0.1",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450:4001::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert_eq!(of(ip), Kind::Public, "{ip}");
        }
    }

    #[test]
    fn private_addresses_are_let_in_where_the_deployment_says_so_and_only_there() {
        for ip in [
            "127.0.0.1",
            "127.255.255.254",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "::1",
            "fc00::1",
            "fd12:3456:789a::1",
            "::ffff:127.0.0.1",
            "::ffff:10.1.2.3",
            "::7f00:1",
            "64:ff9b::a00:1",
            "2002:c0a8:101::1",
            "2002:7f00:1::",
        ] {
            assert!(matches!(of(ip), Kind::Private(_)), "{ip}: {:?}", of(ip));
            assert_eq!(refusal(ip.parse().unwrap(), true), None);
            assert!(refusal(ip.parse().unwrap(), false).is_some());
        }
    }

    #[test]
    fn what_nobody_means_is_refused_whatever_the_deployment_says() {
        for ip in [
            // Metadata: of AWS over IPv4, as a task's role, over IPv6; of Google, Alibaba and Azure; in disguise.
            "169.254.169.254",
            "169.254.170.2",
            "fd00:ec2::254",
            "fd20:ce::254",
            "100.100.100.200",
            "168.63.129.16",
            "::ffff:169.254.169.254",
            "::a9fe:a9fe",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "fe80::a9fe:a9fe",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "::ffff:0.0.0.0",
            "169.254.0.1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "224.0.0.1",
            "239.255.255.255",
            "ff02::1",
            "240.0.0.1",
            "255.255.255.255",
            "::ffff:255.255.255.255",
            "192.0.2.1",
            "198.51.100.7",
            "203.0.113.9",
            "2001:db8::1",
            "3fff::1",
            "192.0.0.170",
            "198.18.0.1",
            "198.19.255.255",
            "192.88.99.1",
            "2001::1",
            "2001:10::1",
            "100::1",
            "64:ff9b:1::1",
            "4000::1",
            "5f00::1",
        ] {
            assert!(refusal(ip.parse().unwrap(), true).is_some(), "{ip}: {:?}", of(ip));
        }
    }
}
