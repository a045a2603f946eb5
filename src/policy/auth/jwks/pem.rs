//! Public keys in PEM (RFC 7468): `PUBLIC KEY`, `RSA PUBLIC KEY` and the key of a `CERTIFICATE`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Public, malformed};
use crate::building::BuildError;

const RSA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"; // 1.2.840.113549.1.1.1, RFC 8017 appendix C
const EC: &[u8] = b"\x2a\x86\x48\xce\x3d\x02\x01"; // 1.2.840.10045.2.1, RFC 5480 §2.1.1
const P256: &[u8] = b"\x2a\x86\x48\xce\x3d\x03\x01\x07"; // 1.2.840.10045.3.1.7
const P384: &[u8] = b"\x2b\x81\x04\x00\x22"; // 1.3.132.0.34
const P521: &[u8] = b"\x2b\x81\x04\x00\x23"; // 1.3.132.0.35
const ED25519: &[u8] = b"\x2b\x65\x70"; // 1.3.101.112, RFC 8410 §3

const INTEGER: u8 = 0x02;
const BITS: u8 = 0x03;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The one public key of a PEM text. Of a certificate only the key counts: neither its dates nor its signature are looked at.
///
/// # Errors
/// There is no key, more than one, a private one, or one of a kind that is not supported.
pub fn read(pem: &str) -> Result<Public, BuildError> {
    let wanted = "give one block `-----BEGIN PUBLIC KEY-----` … `-----END PUBLIC KEY-----`";
    let (_, rest) = pem.split_once("-----BEGIN ").ok_or_else(|| BuildError::new("this is not PEM", wanted))?;
    let (label, rest) = rest.split_once("-----").ok_or_else(malformed)?;
    let (body, after) = rest.split_once(&format!("-----END {label}-----")).ok_or_else(malformed)?;
    if label.contains("PRIVATE") {
        let fix = "make the public key with `openssl pkey -pubout`; then change this key, for it was copied";
        return Err(BuildError::new("this is a private key", fix));
    }
    if after.contains("-----BEGIN ") {
        return Err(BuildError::new("there is more than one key in this PEM", "give each its own entry under `keys`"));
    }
    let der = STANDARD.decode(body.split_ascii_whitespace().collect::<String>()).map_err(|_| malformed())?;
    match label {
        "PUBLIC KEY" => spki(&der),
        "RSA PUBLIC KEY" => pkcs1(&der).ok_or_else(malformed),
        "CERTIFICATE" => spki(certified(&der).ok_or_else(malformed)?),
        other => Err(BuildError::new(format!("a PEM block `{other}` is not a public key"), wanted)),
    }
}

/// The key of a SubjectPublicKeyInfo (RFC 5280 §4.1).
fn spki(der: &[u8]) -> Result<Public, BuildError> {
    let Info { kind, curve, bits } = info(der).ok_or_else(malformed)?;
    match (kind, curve) {
        (RSA, _) => pkcs1(bits).ok_or_else(malformed),
        (EC, Some(P256)) => Ok(Public::P256(bits.to_vec())),
        (EC, Some(P384)) => Ok(Public::P384(bits.to_vec())),
        (EC, Some(P521)) => Err(unsupported("the curve P-521 (ES512)")),
        (EC, _) => Err(unsupported("this curve")),
        (ED25519, None) => Ok(Public::Ed25519(bits.to_vec())),
        _ => Err(unsupported("this kind of key")),
    }
}

fn unsupported(what: &str) -> BuildError {
    BuildError::new(format!("{what} is not supported"), "use a key of RSA, P-256, P-384 or Ed25519")
}

/// The parts of a SubjectPublicKeyInfo.
struct Info<'a> {
    /// The algorithm's OID.
    kind: &'a [u8],
    /// The algorithm's parameter, where that is an OID.
    curve: Option<&'a [u8]>,
    /// The bytes of the key.
    bits: &'a [u8],
}

fn info(der: &[u8]) -> Option<Info<'_>> {
    let mut info = Der(whole(der)?);
    let mut algorithm = Der(info.next(SEQUENCE)?);
    let bits = info.next(BITS)?;
    if !info.0.is_empty() {
        return None;
    }
    // The first byte counts unused bits; a key has none.
    Some(Info { kind: algorithm.next(OID)?, curve: algorithm.next(OID), bits: bits.strip_prefix(&[0])? })
}

/// Modulus and exponent of an RSAPublicKey (RFC 8017 appendix A.1.1).
fn pkcs1(der: &[u8]) -> Option<Public> {
    let mut key = Der(whole(der)?);
    let (n, e) = (key.next(INTEGER)?, key.next(INTEGER)?);
    key.0.is_empty().then(|| Public::Rsa(n.to_vec(), e.to_vec()))
}

/// The SubjectPublicKeyInfo of a certificate (RFC 5280 §4.1).
fn certified(der: &[u8]) -> Option<&[u8]> {
    let mut certificate = Der(Der(whole(der)?).next(SEQUENCE)?);
    certificate.next(VERSION);
    certificate.next(INTEGER)?;
    // signature, issuer, validity, subject
    for _ in 0..4 {
        certificate.next(SEQUENCE)?;
    }
    let before = certificate.0;
    certificate.next(SEQUENCE)?;
    before.get(..before.len() - certificate.0.len())
}

fn whole(der: &[u8]) -> Option<&[u8]> {
    let mut outer = Der(der);
    let content = outer.next(SEQUENCE)?;
    outer.0.is_empty().then_some(content)
}

/// What is left of a DER value.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The content of the next element, if it has that tag; nothing is consumed otherwise.
    fn next(&mut self, tag: u8) -> Option<&'a [u8]> {
        let rest = self.0.strip_prefix(&[tag])?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EC256: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEOJI0F8E3jhtBsN2VQpfMY12+uPTA
ejLipPf0jhAMjhy8vxI0qN3lg3iLcxhcNOdrlj3LOyS5Fyq5UOdOTSTOfw==
-----END PUBLIC KEY-----";
    const EC384: &str = "-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAES/Zsvq0OjGN7pwWRZesCfpfz81LZBKW/
L6Z63xBo2VgkNzuiC1349G7ki2W4BGaWQeCZMKVAWxaArgzNh1q4zlGfE1dvRQ3g
r4wXtC71lXI8xmFWHD7PI9xOqn7Bz8FG
-----END PUBLIC KEY-----";
    const EC521: &str = "-----BEGIN PUBLIC KEY-----
MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQB/tJgxzpWvFIyHeD70qONn4ebNU9G
M2NEp7NLwvuWW+u+X1Ix1n+qSd5RujxhH63O1Zln7LwQZJxYXNQszJvojBYAOkX2
lzh+8k/Exxbju3G7GOkimDbUSqMy1FW6c3RTH7T41Nd5uVDXdPCrxpIDQzvBZZ7c
bIOMoVKpLTPFio27Ato=
-----END PUBLIC KEY-----";
    const ED: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAu27cHa3bBv0VFOwV8XwUtX36X5BVLhu4SSSUSEw3OwU=
-----END PUBLIC KEY-----";
    const SPKI: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA4BCjbpzijn2FwQ3AYv12
xiC6q/wBUYSWmki4qGV0826qlsyJ9i6SNEPCxDDnT5AlOnfmJT5kEgiGVpDuAx2X
2hJGPcSCfhO6cGZtHQs60IqpWh+lT9hdJZ3dMLPlH5m3NinKbsZyvzD37dYepoxs
/Q1lfL6HuHTLe68AiSsn89CNi0kG5kscr74sm2+YyEFCRTddjtHvTOPQcHntwP1K
fLVCOH3ljJxTYNBjvVtJWrN8F+YBSksVYDr0tzkEGbcIxuYCp2OH9ek0hnIr5m7E
dxz+fp2awfgowK6l/dB55AQ2+MBBzKmWnEy7fOhH2vjPh6OWvU6/OkeX/KUcHRl1
5QIDAQAB
-----END PUBLIC KEY-----";
    const PKCS1: &str = "-----BEGIN RSA PUBLIC KEY-----
MIIBCgKCAQEA4BCjbpzijn2FwQ3AYv12xiC6q/wBUYSWmki4qGV0826qlsyJ9i6S
NEPCxDDnT5AlOnfmJT5kEgiGVpDuAx2X2hJGPcSCfhO6cGZtHQs60IqpWh+lT9hd
JZ3dMLPlH5m3NinKbsZyvzD37dYepoxs/Q1lfL6HuHTLe68AiSsn89CNi0kG5ksc
r74sm2+YyEFCRTddjtHvTOPQcHntwP1KfLVCOH3ljJxTYNBjvVtJWrN8F+YBSksV
YDr0tzkEGbcIxuYCp2OH9ek0hnIr5m7Edxz+fp2awfgowK6l/dB55AQ2+MBBzKmW
nEy7fOhH2vjPh6OWvU6/OkeX/KUcHRl15QIDAQAB
-----END RSA PUBLIC KEY-----";
    const CERT: &str = "-----BEGIN CERTIFICATE-----
MIIC+TCCAeGgAwIBAgIUY5b4ovezZTef2QXU/fG9kW2538swDQYJKoZIhvcNAQEL
BQAwDDEKMAgGA1UEAwwBdDAeFw0yNjExMjQwODE0MzZaFw0zNjExMjEwODE0MzZa
MAwxCjAIBgNVBAMMAXQwggEiMA0GCSqGSIb3DQEBAQUAA4IBDwAwggEKAoIBAQDg
EKNunOKOfYXBDcBi/XbGILqr/AFRhJaaSLioZXTzbqqWzIn2LpI0Q8LEMOdPkCU6
d+YlPmQSCIZWkO4DHZfaEkY9xIJ+E7pwZm0dCzrQiqlaH6VP2F0lnd0ws+Ufmbc2
KcpuxnK/MPft1h6mjGz9DWV8voe4dMt7rwCJKyfz0I2LSQbmSxyvviybb5jIQUJF
N12O0e9M49Bwee3A/Up8tUI4feWMnFNg0GO9W0las3wX5gFKSxVgOvS3OQQZtwjG
5gKnY4f16TSGcivmbsR3HP5+nZrB+CjArqX90HnkBDb4wEHMqZacTLt86Efa+M+H
o5a9Tr86R5f8pRwdGXXlAgMBAAGjUzBRMB0GA1UdDgQWBBTY558ns8kg9xa+44CU
RLlQ4x4RdDAfBgNVHSMEGDAWgBTY558ns8kg9xa+44CURLlQ4x4RdDAPBgNVHRMB
Af8EBTADAQH/MA0GCSqGSIb3DQEBCwUAA4IBAQBH4R3Jz5aDntR4Hjz5lYAdKlln
HoZXtI75ox+AOn+XBT5uMpAhJIz4HEl6lWseyZN/9xIW684GcU/ack2awtF7xFpF
1AiyeDkyZ3TPQ5lMm7Jv+QsRWrE5RbqH6QyIw+x68D1baXSJtbDpm7eveVnQBdzw
9NiuGjmcVDNxtDZv+Y+qwnYGiZt7zb9gEM6D+1RD8aXUqeqPC1Uzh0kWZZg9yoQN
UjDsZhAX2xmmziWMD5HvlAfwhOGzTvFwgJn0nvVMUGUrQWJrfTs6o+FKVSZXd7qU
1af8JHMTIoK+aajKBYUwIrx7vRIphLcCbgoUfsbFWNZUDNvdc3UVv2O31NAf
-----END CERTIFICATE-----";

    fn why(pem: &str) -> String {
        read(pem).map(|_| ()).unwrap_err().reason
    }

    #[test]
    fn the_public_keys_that_openssl_writes_are_read() {
        assert!(matches!(read(EC256).unwrap(), Public::P256(point) if point.len() == 65));
        assert!(matches!(read(EC384).unwrap(), Public::P384(point) if point.len() == 97));
        assert!(matches!(read(ED).unwrap(), Public::Ed25519(key) if key.len() == 32));
        let parts = |pem| match read(pem).unwrap() {
            Public::Rsa(n, e) => (n, e),
            _ => panic!("not RSA"),
        };
        assert_eq!(parts(SPKI).0.len(), 257);
        assert_eq!(parts(SPKI), parts(PKCS1));
        assert_eq!(parts(SPKI), parts(CERT));
    }

    #[test]
    fn a_private_a_doubled_a_broken_and_an_unsupported_key_are_refused() {
        assert_eq!(why("-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----"), "this is a private key");
        assert!(why(&format!("{ED}\n{ED}")).contains("more than one"));
        assert_eq!(why(&ED.replace("MCow", "MCsw")), "this key is malformed");
        assert_eq!(why(&SPKI.replace("-----END PUBLIC KEY-----", "")), "this key is malformed");
        assert!(why(EC521).contains("P-521"));
        assert_eq!(why("hello"), "this is not PEM");
    }
}
