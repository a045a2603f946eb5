use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use smallvec::SmallVec;

/// Those for one name; several where they differ in the kind of key.
type Keys = SmallVec<[Arc<CertifiedKey>; 1]>;

/// Which certificate a client is shown, by the name that it asks for (SNI, RFC 6066 §3).
#[derive(Debug, Default)]
pub struct Resolver {
    exact: HashMap<Box<str>, Keys>,
    /// `*.example.com` is kept as `example.com`.
    wildcard: HashMap<Box<str>, Keys>,
    first: Keys,
}

impl Resolver {
    /// Adds a certificate behind those before it.
    pub fn add(&mut self, hosts: &[Box<str>], key: &Arc<CertifiedKey>) {
        for host in hosts {
            let (names, name) = match host.strip_prefix("*.") {
                Some(below) => (&mut self.wildcard, below),
                None => (&mut self.exact, &**host),
            };
            names.entry(name.into()).or_default().push(key.clone());
        }
        if self.first.is_empty() || self.beside_first(hosts) {
            self.first.push(key.clone());
        }
    }

    /// Whether one of these hosts is the first certificate's too: then it is the same with another kind of key.
    fn beside_first(&self, hosts: &[Box<str>]) -> bool {
        let Some(first) = self.first.first() else { return false };
        hosts.iter().filter_map(|host| self.find(host)).any(|keys| keys.iter().any(|key| Arc::ptr_eq(key, first)))
    }

    fn find(&self, name: &str) -> Option<&Keys> {
        self.exact.get(name).or_else(|| self.wildcard.get(name.split_once('.')?.1))
    }

    /// Those for a host; the first ones for a host that none is for.
    fn keys(&self, name: Option<&str>) -> &Keys {
        name.and_then(|name| self.find(name)).unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let keys = self.keys(name.as_deref());
        let known = keys.iter().find(|key| key.key.choose_scheme(hello.signature_schemes()).is_some());
        known.or_else(|| keys.first()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use rustls::crypto::ring::default_provider;

    use super::*;

    fn certificate() -> Arc<CertifiedKey> {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
        let der = key.serialize_der().try_into().unwrap();
        Arc::new(CertifiedKey::from_der(vec![cert.der().clone()], der, &default_provider()).unwrap())
    }

    #[test]
    fn a_client_is_shown_what_names_its_host_and_else_the_first() {
        let hosts: [&[&str]; 4] = [&["a.test"], &["*.b.test", "b.test"], &["x.b.test"], &["a.test", "c.test"]];
        let keys: Vec<_> = hosts.iter().map(|_| certificate()).collect();
        let mut resolver = Resolver::default();
        for (hosts, key) in hosts.iter().zip(&keys) {
            resolver.add(&hosts.iter().map(|host| Box::from(*host)).collect::<Vec<_>>(), key);
        }
        let shown = |name: Option<&str>| {
            let places = resolver.keys(name).iter().map(|key| keys.iter().position(|known| Arc::ptr_eq(known, key)).unwrap());
            places.collect::<Vec<_>>()
        };
        for (name, places) in [
            (Some("a.test"), vec![0, 3]),
            (Some("b.test"), vec![1]),
            (Some("y.b.test"), vec![1]),
            (Some("x.b.test"), vec![2]),
            (Some("z.y.b.test"), vec![0, 3]),
            (Some("c.test"), vec![3]),
            (None, vec![0, 3]),
        ] {
            assert_eq!(shown(name), places, "{name:?}");
        }
    }
}
