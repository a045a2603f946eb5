//! The PROXY protocol, versions 1 and 2 (haproxy.org, `doc/proxy-protocol.txt`): a load balancer that passes on mere bytes says in front of them whose
//! they are. Not a byte more than the header is read, since TLS may follow.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// §2.2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// §2.1: the longest line of version 1, with its end.
const LINE: usize = 107;

/// The longest rest of version 2: addresses, and facts that are not read here.
const REST: u16 = 4096;

/// The client's address and the one that it connected to.
pub type Addresses = (SocketAddr, SocketAddr);

/// Reads the header. None where the sender speaks for nobody but itself, or says no addresses.
///
/// # Errors
/// Why it is none.
pub async fn read(wire: &mut (impl AsyncRead + Unpin)) -> Result<Option<Addresses>, &'static str> {
    let mut start = [0; SIGNATURE.len()];
    fill(wire, &mut start).await?;
    if start == *SIGNATURE {
        return version_2(wire).await;
    }
    if !start.starts_with(b"PROXY ") {
        return Err("there is no PROXY header");
    }
    // One by one: what follows the line is not ours. Senders that count bytes speak version 2.
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() == LINE {
            return Err("the PROXY line does not end");
        }
        let mut byte = [0];
        fill(wire, &mut byte).await?;
        line.extend_from_slice(&byte);
    }
    version_1(&line)
}

async fn fill(wire: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> Result<(), &'static str> {
    wire.read_exact(buffer).await.map(|_| ()).map_err(|_| "the connection ended within the PROXY header")
}

fn version_1(line: &[u8]) -> Result<Option<Addresses>, &'static str> {
    const WRONG: &str = "the PROXY line is malformed";
    let line = std::str::from_utf8(line).ok().and_then(|line| line.strip_suffix("\r\n")).ok_or(WRONG)?;
    let words: Vec<&str> = line.split(' ').collect();
    let (family, from, to, from_port, to_port) = match *words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => return Ok(None),
        ["PROXY", family, from, to, from_port, to_port] => (family, from, to, from_port, to_port),
        _ => return Err(WRONG),
    };
    let address = |text: &str, port: &str| {
        let address: IpAddr = match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok()?.into(),
            "TCP6" => text.parse::<Ipv6Addr>().ok()?.into(),
            _ => return None,
        };
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        Some(SocketAddr::new(address, port.parse().ok().filter(|_| digits)?))
    };
    Ok(Some((address(from, from_port).ok_or(WRONG)?, address(to, to_port).ok_or(WRONG)?)))
}

async fn version_2(wire: &mut (impl AsyncRead + Unpin)) -> Result<Option<Addresses>, &'static str> {
    let mut head = [0; 4];
    fill(wire, &mut head).await?;
    let [command, family, high, low] = head;
    let length = u16::from_be_bytes([high, low]);
    if length > REST {
        return Err("the PROXY header is too long");
    }
    let mut rest = vec![0; length.into()];
    fill(wire, &mut rest).await?;
    match (command, family) {
        // Its own health checks.
        (0x20, _) => Ok(None),
        (0x21, 0x11) => addresses(&rest, |bytes: [u8; 4]| Ipv4Addr::from(bytes).into()).map(Some),
        (0x21, 0x21) => addresses(&rest, |bytes: [u8; 16]| Ipv6Addr::from(bytes).into()).map(Some),
        // Of an unknown family, or of a Unix socket: there is no address to take.
        (0x21, 0x00 | 0x31) => Ok(None),
        _ => Err("the PROXY header speaks of something other than TCP"),
    }
}

/// Two addresses, then their ports.
fn addresses<const N: usize>(rest: &[u8], address: impl Fn([u8; N]) -> IpAddr) -> Result<Addresses, &'static str> {
    const SHORT: &str = "the PROXY header is too short for its addresses";
    let (from, rest) = rest.split_first_chunk::<N>().ok_or(SHORT)?;
    let (to, rest) = rest.split_first_chunk::<N>().ok_or(SHORT)?;
    let (from_port, rest) = rest.split_first_chunk::<2>().ok_or(SHORT)?;
    let (to_port, _) = rest.split_first_chunk::<2>().ok_or(SHORT)?;
    let one = |bytes: &[u8; N], port: &[u8; 2]| SocketAddr::new(address(*bytes), u16::from_be_bytes(*port));
    Ok((one(from, from_port), one(to, to_port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said, and what is left to read.
    async fn said(bytes: &[u8]) -> Result<(Option<String>, Vec<u8>), &'static str> {
        let mut left = bytes;
        let said = read(&mut left).await?;
        Ok((said.map(|(from, to)| format!("{from} {to}")), left.to_vec()))
    }

    fn second(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest, b"GET /"].concat()
    }

    #[tokio::test]
    async fn both_versions_say_who_connected_and_leave_what_follows() {
        let four = [192, 0, 2, 1, 10, 0, 0, 1, 0x12, 0x67, 0x01, 0xbb];
        let mut six = [0; 36];
        (six[15], six[31], six[35]) = (1, 2, 80);
        for (bytes, expected) in [
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\nGET /".to_vec(), Some("192.0.2.1:4711 10.0.0.1:443")),
            (b"PROXY TCP6 2001:db8::1 ::1 4711 443\r\nGET /".to_vec(), Some("[2001:db8::1]:4711 [::1]:443")),
            (b"PROXY UNKNOWN\r\nGET /".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\nGET /".to_vec(), None),
            (second(0x21, 0x11, &four), Some("192.0.2.1:4711 10.0.0.1:443")),
            (second(0x21, 0x11, &[&four[..], &[4, 0, 1, 0]].concat()), Some("192.0.2.1:4711 10.0.0.1:443")),
            (second(0x21, 0x21, &six), Some("[::1]:0 [::2]:80")),
            (second(0x20, 0x00, &[]), None),
            (second(0x21, 0x00, &[]), None),
        ] {
            let (said, left) = said(&bytes).await.unwrap();
            assert_eq!((said.as_deref(), &left[..]), (expected, &b"GET /"[..]), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_told_as_such() {
        for bytes in [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 4711\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 +4711 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 65536\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::1 ::1 4711 443\r\n".to_vec(),
            b"PROXY UDP4 192.0.2.1 10.0.0.1 4711 443\r\n".to_vec(),
            [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat(),
            b"PROXY TCP4 192.0".to_vec(),
            second(0x21, 0x11, &[1, 2, 3]),
            second(0x21, 0x12, &[0; 12]),
            second(0x11, 0x11, &[0; 12]),
            second(0x20, 0x00, &[0; 5000]),
        ] {
            assert!(said(&bytes).await.is_err(), "{:?}", String::from_utf8_lossy(&bytes));
        }
    }
}
