use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use tokio::time::timeout;

use super::{Failed, Families, HOSTS_TTL, Names, Question};
use crate::state::Located;

/// The largest weight that is kept as it is; the shares of larger ones are kept to a hundredth.
const FINEST: u32 = 100;

impl Names {
    /// Asks one question to the end. `anything` is better than nothing: some of a service's hosts, where others cannot be found now.
    pub(super) async fn ask(&self, question: &Question, anything: bool) -> Result<(Vec<Located>, Duration), Failed> {
        match question {
            Question::Host(host) => {
                let (addresses, ttl) = self.addresses(host).await?;
                let located = |address| Located { priority: 0, host: host.clone(), port: None, address, weight: 1 };
                Ok((addresses.into_iter().map(located).collect(), ttl))
            }
            Question::Service(name) => self.service(name, anything).await,
        }
    }

    async fn service(&self, name: &str, anything: bool) -> Result<(Vec<Located>, Duration), Failed> {
        let (records, mut shortest) = self.records(name, RecordType::SRV).await?;
        let mut servers: Vec<(u16, u16, u16, String)> = records
            .into_iter()
            .filter_map(|record| match record {
                // A lone dot says that there is no such service (RFC 2782).
                RData::SRV(srv) if !srv.target.is_root() => {
                    Some((srv.priority, srv.weight, srv.port, srv.target.to_ascii().trim_end_matches('.').to_lowercase()))
                }
                _ => None,
            })
            .collect();
        if servers.is_empty() {
            return Err(Failed { word: "no_records", text: "there is no such service".to_owned() });
        }
        let mut ranks: Vec<u16> = servers.iter().map(|(priority, ..)| *priority).collect();
        ranks.sort_unstable();
        ranks.dedup();
        let heaviest = servers.iter().map(|(_, weight, ..)| u32::from(*weight)).max().unwrap_or_default();
        let mut places = Vec::new();
        let mut failed = None;
        servers.sort_unstable();
        // Many ports may be of one host.
        let mut known: HashMap<String, (Vec<IpAddr>, Duration)> = HashMap::new();
        for (priority, weight, port, host) in servers {
            let found = match known.get(&host) {
                Some(found) => Ok(found.clone()),
                None => self.addresses(&host).await,
            };
            match found {
                Ok((addresses, ttl)) => {
                    known.entry(host.clone()).or_insert_with(|| (addresses.clone(), ttl));
                    shortest = shortest.min(ttl);
                    let rank = ranks.iter().position(|known| *known == priority).unwrap_or_default();
                    let priority = u8::try_from(rank).unwrap_or(u8::MAX);
                    let weight = if heaviest > FINEST { u32::from(weight) * FINEST / heaviest } else { u32::from(weight) };
                    let located =
                        |address| Located { priority, host: host.as_str().into(), port: Some(port), address, weight: weight.max(1) };
                    places.extend(addresses.into_iter().map(located));
                }
                Err(error) => failed = Some(Failed { text: format!("of its host {host}: {}", error.text), ..error }),
            }
        }
        match failed {
            Some(failed) if places.is_empty() => Err(failed),
            // Fewer than there are would be taken for all: the last answer is better.
            Some(failed) if !anything && !matches!(failed.word, "nxdomain" | "no_records") => Err(failed),
            // Soon again, whatever the records say.
            Some(_) => Ok((places, Duration::ZERO)),
            None => Ok((places, shortest)),
        }
    }

    /// The addresses of a host, and how long they hold.
    async fn addresses(&self, host: &str) -> Result<(Vec<IpAddr>, Duration), Failed> {
        let (first, second) = match self.config.families {
            Families::PreferIpv4 | Families::Ipv4 => (RecordType::A, RecordType::AAAA),
            Families::PreferIpv6 | Families::Ipv6 => (RecordType::AAAA, RecordType::A),
            Families::Both => return self.both(host).await,
        };
        let alone = matches!(self.config.families, Families::Ipv4 | Families::Ipv6);
        match self.of_family(host, first).await {
            Err(failed) if failed.word == "no_records" && !alone => self.of_family(host, second).await,
            asked => asked,
        }
    }

    async fn both(&self, host: &str) -> Result<(Vec<IpAddr>, Duration), Failed> {
        let (four, six) = tokio::join!(self.of_family(host, RecordType::A), self.of_family(host, RecordType::AAAA));
        match (four, six) {
            (Ok((mut all, one)), Ok((six, other))) => {
                all.extend(six);
                Ok((all, one.min(other)))
            }
            (Ok(found), Err(failed)) | (Err(failed), Ok(found)) if failed.word == "no_records" => Ok(found),
            (Err(failed), _) | (_, Err(failed)) => Err(failed),
        }
    }

    async fn of_family(&self, host: &str, family: RecordType) -> Result<(Vec<IpAddr>, Duration), Failed> {
        let (addresses, ttl) = match known(&Hosts::from_system().unwrap_or_default(), host, family) {
            Some(known) => (known, HOSTS_TTL),
            None => {
                let (records, ttl) = self.records(host, family).await?;
                (records.iter().filter_map(RData::ip_addr).collect(), ttl)
            }
        };
        if addresses.is_empty() {
            return Err(Failed { word: "no_records", text: format!("it has no address of the kind {family}") });
        }
        Ok((addresses, ttl))
    }

    async fn records(&self, name: &str, kind: RecordType) -> Result<(Vec<RData>, Duration), Failed> {
        let failed = |error: &NetError| failed(error, kind);
        let mut asked: Name = name.parse().map_err(|error| Failed { word: "error", text: format!("it is no name: {error}") })?;
        // Search domains are of the system's settings, and those are of its own name servers.
        asked.set_fqdn(asked.is_fqdn() || !self.config.servers.is_empty());
        let resolver = self.resolver().map_err(|error| failed(&error))?;
        let lookup = match timeout(self.config.timeout.0, resolver.lookup(asked, kind)).await {
            Ok(lookup) => lookup.map_err(|error| failed(&error))?,
            Err(_) => return Err(failed(&NetError::Timeout)),
        };
        let ttl = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or_default();
        let of_kind = lookup.answers().iter().filter(|record| record.record_type() == kind).map(|record| record.data.clone());
        Ok((of_kind.collect(), Duration::from_secs(ttl.into())))
    }

    fn resolver(&self) -> Result<TokioResolver, NetError> {
        let mut resolver = self.resolver.lock();
        if let Some(resolver) = &*resolver {
            return Ok(resolver.clone());
        }
        let provider = TokioRuntimeProvider::default();
        let mut builder = match self.config.servers.as_slice() {
            [] => TokioResolver::builder(provider)?,
            servers => {
                let servers = servers.iter().map(|server| {
                    let mut config = NameServerConfig::udp_and_tcp(server.0.ip());
                    config.connections.iter_mut().for_each(|connection| connection.port = server.0.port());
                    config
                });
                TokioResolver::builder_with_config(ResolverConfig::from_name_servers(servers.collect()), provider)
            }
        };
        let options = builder.options_mut();
        options.timeout = self.config.timeout.0 / 2;
        options.attempts = 1;
        // What holds for how long is kept here.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        let made = builder.build()?;
        *resolver = Some(made.clone());
        Ok(made)
    }
}

/// What needs no question: the lines of /etc/hosts, read anew each time, and `localhost` (RFC 6761 §6.3). Nobody else is asked about a name that is there
/// with addresses of the other family only: name servers mostly do not know it, and would deny the name as a whole.
fn known(hosts: &Hosts, host: &str, family: RecordType) -> Option<Vec<IpAddr>> {
    let host = host.to_lowercase();
    let name: Name = host.parse().ok()?;
    let of = |family| {
        let found = hosts.lookup_static_host(&Query::query(name.clone(), family));
        found.map(|lookup| lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>()).unwrap_or_default()
    };
    let found = of(family);
    if found.is_empty() && (host == "localhost" || host.ends_with(".localhost")) {
        return Some(vec![if family == RecordType::A { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() }]);
    }
    let is_there = !found.is_empty() || [RecordType::A, RecordType::AAAA].into_iter().any(|family| !of(family).is_empty());
    is_there.then_some(found)
}

fn failed(error: &NetError, kind: RecordType) -> Failed {
    let (word, text) = match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) if none.response_code == ResponseCode::NXDomain => {
            ("nxdomain", "the name does not exist (NXDOMAIN)".to_owned())
        }
        NetError::Dns(DnsError::NoRecordsFound(none)) if none.response_code == ResponseCode::NoError => {
            ("no_records", format!("the name has no record of the kind {kind}"))
        }
        NetError::Dns(DnsError::NoRecordsFound(none)) => response(none.response_code),
        NetError::Dns(DnsError::ResponseCode(code)) => response(*code),
        NetError::Timeout => ("timeout", "no name server answers in time".to_owned()),
        other => ("error", other.to_string()),
    };
    Failed { word, text }
}

fn response(code: ResponseCode) -> (&'static str, String) {
    match code {
        ResponseCode::ServFail => ("servfail", "the name server fails (SERVFAIL)".to_owned()),
        code => ("error", format!("the name server says {code}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_the_hosts_file_has_the_addresses_that_stand_there_and_no_others() {
        let mut hosts = Hosts::default();
        hosts.read_hosts_conf(&b"10.0.0.1 four.test both.test\nfd00::1 six.test both.test\n10.9.9.9 own.localhost\n"[..]).unwrap();
        let addresses = |host: &str| {
            [RecordType::A, RecordType::AAAA]
                .map(|family| known(&hosts, host, family).map(|known| known.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(addresses("Four.test"), [some("10.0.0.1"), some("")], "nobody is asked for the other family");
        assert_eq!(addresses("six.test"), [some(""), some("fd00::1")]);
        assert_eq!(addresses("both.test"), [some("10.0.0.1"), some("fd00::1")]);
        assert_eq!(addresses("other.test"), [None, None]);
        assert_eq!(addresses("own.localhost"), [some("10.9.9.9"), some("::1")]);
        assert_eq!(addresses("LOCALHOST"), [some("127.0.0.1"), some("::1")]);
    }
}
