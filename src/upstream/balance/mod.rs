//! Which target of a service a request goes to. All that can be worked out before is: a pick takes no lock, allocates nothing, and asks no more targets
//! than it must.

mod config;
/// Cookies: how they are found, and those that name what was chosen.
pub mod cookie;
mod ejection;
mod group;
mod rotation;
mod standing;

pub use config::{BalanceConfig, HashConfig, SameSite, StickyConfig};
pub use cookie::Sticky;
pub use ejection::{Ejection, EjectionConfig, Turn};
pub use group::{Group, hash};
pub use standing::{Rules, Stand, Standing};

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use pingora_http::RequestHeader;

use self::group::Member;
use self::rotation::Rotation;
use super::attempt::Failure;
use crate::building::BuildError;
use crate::ctx::Ctx;
use crate::state::{InFlight, Load, Shared, millis};

/// What a choice may depend on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asking<'a> {
    /// The hash of the request's key, for `hash`.
    pub key: Option<u64>,
    /// The value of the cookie that `sticky` set.
    pub cookie: Option<&'a [u8]>,
    /// Whether the client came by HTTPS.
    pub secure: bool,
    /// The places of targets that were asked in vain.
    pub tried: &'a [usize],
}

/// One target for the balancer.
#[derive(Debug)]
pub struct Weighed<'a> {
    /// What names it over restarts and at every gateway.
    pub url: &'a str,
    /// How many picks it gets beside the others.
    pub weight: u32,
    /// 0 for the first choice.
    pub priority: u8,
}

/// The balancer of a service, ready to choose.
#[derive(Debug)]
pub struct Balance {
    how: How,
    /// By priority.
    groups: Box<[Ranked]>,
    /// The place of each target's group among them.
    ranks: Box<[usize]>,
    loads: Box<[Arc<Load>]>,
    ejection: Option<Ejection>,
    /// None where nothing can keep a target away.
    standing: Option<Standing>,
}

#[derive(Debug)]
struct Ranked {
    group: Group,
    /// The turns of `round_robin`.
    rotation: Option<Rotation>,
}

#[derive(Debug)]
enum How {
    RoundRobin,
    LeastRequests,
    Random,
    Hash { key: Key, bound: f64 },
    Sticky(Sticky),
}

/// The place of the next target, and whether the request finds out how that is.
#[derive(Debug)]
struct Choice {
    index: usize,
    trial: bool,
}

/// So often others may have been faster.
const TRIES: usize = 4;

/// Where the key of a request is.
#[derive(Debug)]
pub enum Key {
    /// The value of a header.
    Header(HeaderName),
    /// That of a cookie.
    Cookie(Box<str>),
    /// The client's address.
    ClientIp,
    /// The value of a path parameter.
    Param(Box<str>),
    /// The consumer's name.
    Consumer,
}

/// How many times its share a target may have, unless the config says otherwise.
const BOUND: f64 = 1.25;

impl Balance {
    /// Works out what can be worked out before the first request.
    ///
    /// # Errors
    /// Settings or weights that leave nothing to choose by; at paths below the service.
    pub fn build(
        config: &BalanceConfig,
        ejection: Option<Ejection>,
        standing: Option<Standing>,
        service: &str,
        targets: &[Weighed<'_>],
        shared: &Shared,
    ) -> Result<Self, BuildError> {
        let how = match config {
            BalanceConfig::RoundRobin => How::RoundRobin,
            BalanceConfig::LeastRequests => How::LeastRequests,
            BalanceConfig::Random => How::Random,
            BalanceConfig::Hash(config) => hashed(config).map_err(|error| error.at("hash").at("balance"))?,
            BalanceConfig::Sticky(config) => {
                let sticky = Sticky::build(config, service, targets.iter().map(|target| (target.url, target.weight > 0)));
                How::Sticky(sticky.map_err(|error| error.at("sticky").at("balance"))?)
            }
        };
        let mut ranks: BTreeMap<u8, Vec<(usize, u32, u64)>> = BTreeMap::new();
        for (index, target) in targets.iter().enumerate() {
            ranks.entry(target.priority).or_default().push((index, target.weight, hash(&[target.url.as_bytes()])));
        }
        let priorities: Vec<u8> = ranks.keys().copied().collect();
        let of_group = |target: &Weighed<'_>| priorities.partition_point(|priority| *priority < target.priority);
        let of_groups = targets.iter().map(of_group).collect();
        let ranked = ranks.into_iter().map(|(priority, members)| {
            let weights: Vec<u32> = members.iter().map(|(_, weight, _)| *weight).filter(|weight| *weight > 0).collect();
            let group = Group::build(members)?;
            let rotation = match how {
                How::RoundRobin => Some(Rotation::build(&weights, shared.rotations.get(&format!("{priority} {service}")))?),
                _ => None,
            };
            Ok(Ranked { group, rotation })
        });
        let groups = ranked.collect::<Result<_, BuildError>>().map_err(|error| error.at("targets"))?;
        let loads: Box<[_]> = targets.iter().map(|target| shared.loads.get(&format!("{service} {}", target.url))).collect();
        Ok(Self { how, groups, ranks: of_groups, loads, ejection, standing })
    }

    /// Welcomes those of its targets that are new. It is `complete` where no name waits for its first answer.
    pub fn welcome(&self, complete: bool) {
        Load::welcome(&self.loads, millis(), complete);
    }

    /// What of a request the choice depends on. `tried` are the places of targets that were asked in vain.
    pub fn asking<'a>(&self, req: &'a RequestHeader, cx: &Ctx, tried: &'a [usize]) -> Asking<'a> {
        let (mut key, mut cookie) = (None, None);
        match &self.how {
            How::Hash { key: from, .. } => key = from.of(req, cx),
            How::Sticky(sticky) => cookie = cookie::find(&req.headers, &sticky.name),
            How::RoundRobin | How::LeastRequests | How::Random => {}
        }
        Asking { key, cookie, secure: cx.scheme == "https", tried }
    }

    /// Takes the next target: its place, and the count of the request there.
    pub fn pick(&self, asking: &Asking<'_>) -> Option<(usize, InFlight)> {
        let named = match (&self.how, asking.cookie) {
            (How::Sticky(sticky), Some(cookie)) => sticky.target(cookie),
            _ => None,
        };
        let now = self.standing.as_ref().and_then(|standing| standing.now(&self.loads));
        if now.is_some() || !asking.tried.is_empty() {
            return self.pick_apart(asking, now, named);
        }
        // As mostly: all are free.
        let index = named.filter(|index| self.is_of(0, *index)).or_else(|| self.within(self.groups.first()?, asking, |_| true))?;
        Some((index, InFlight::begin(self.loads.get(index)?)))
    }

    /// The same where some target is not to be used as any. Out of the way of what happens mostly.
    #[cold]
    fn pick_apart(&self, asking: &Asking<'_>, now: Option<u64>, named: Option<usize>) -> Option<(usize, InFlight)> {
        // Where another takes a trial first, the next choice knows.
        for _ in 0..TRIES {
            let choice = self.choose(asking, now, named)?;
            let load = self.loads.get(choice.index)?;
            if let Some(taken) = if choice.trial { InFlight::probe(load) } else { Some(InFlight::begin(load)) } {
                return Some((choice.index, taken));
            }
        }
        let index = self.within(self.groups.first()?, asking, |_| true)?;
        Some((index, InFlight::begin(self.loads.get(index)?)))
    }

    /// The place of the next target, where the request is over at once.
    #[cfg(test)]
    fn place(&self, asking: &Asking<'_>) -> Option<usize> {
        self.pick(asking).map(|(index, _)| index)
    }

    /// Those that are away come after those that are not, whatever their priority, and those that were tried come last.
    fn choose(&self, asking: &Asking<'_>, now: Option<u64>, named: Option<usize>) -> Option<Choice> {
        let plain = |index| Choice { index, trial: false };
        let stand = |index: usize| match (&self.standing, now, self.loads.get(index)) {
            (Some(standing), Some(now), Some(load)) => standing.of(load, now),
            _ => Stand::Full,
        };
        let untried = |index: usize| !asking.tried.contains(&index);
        let free = |index: usize| untried(index) && stand(index).is_available();
        // A request that has failed once has had its share of ill targets.
        let trial = |index: usize| asking.tried.is_empty() && stand(index) == Stand::Trial;
        // Which of its requests a target gets that has a part of its share is the same for the whole choice, and for each key.
        let lot = asking.key.unwrap_or_else(rand::random);
        let mine = |index: usize| match stand(index) {
            Stand::Part(share) => untried(index) && group::lot(lot, index) < share,
            _ => free(index) || trial(index),
        };
        let least = self.standing.as_ref().filter(|_| now.is_some()).map_or(0.0, |standing| standing.rules.min_available);
        let has = |ranked: &Ranked, any: &dyn Fn(usize) -> bool| ranked.group.members().iter().any(|member| any(member.index));
        for (rank, ranked) in self.groups.iter().enumerate() {
            let members = ranked.group.members();
            let available = members.iter().filter(|member| stand(member.index).is_available()).count();
            if has(ranked, &free) && available as f64 >= least * members.len() as f64 {
                let named = named.filter(|index| self.is_of(rank, *index) && (free(*index) || trial(*index)));
                let index = named.or_else(|| self.within(ranked, asking, mine)).or_else(|| self.within(ranked, asking, free))?;
                return Some(Choice { index, trial: !stand(index).is_available() });
            }
            // Nobody comes here otherwise, who could find out.
            if let Some(index) = self.within(ranked, asking, trial) {
                return Some(Choice { index, trial: true });
            }
        }
        match self.groups.iter().find(|ranked| has(ranked, &untried)) {
            Some(ranked) => self.within(ranked, asking, untried),
            None => self.within(self.groups.first()?, asking, |_| true),
        }
        .map(plain)
    }

    /// Whether the group of this number has the target: a cookie keeps nobody at one that stands by.
    fn is_of(&self, rank: usize, index: usize) -> bool {
        self.ranks.get(index) == Some(&rank)
    }

    fn within(&self, ranked: &Ranked, asking: &Asking<'_>, free: impl Fn(usize) -> bool) -> Option<usize> {
        let free = |member: &Member| free(member.index);
        let load = |member: &Member| self.loads.get(member.index).map_or(0, |load| u64::from(load.in_flight()));
        let group = &ranked.group;
        let member = match (&self.how, asking.key) {
            (How::RoundRobin, _) => ranked.next(free),
            (How::Random, _) => group.random(free),
            (How::Hash { bound, .. }, Some(key)) => group.hashed(key, *bound, free, load),
            (How::LeastRequests | How::Hash { .. } | How::Sticky(_), _) => group.least(free, load),
        };
        member.map(|member| member.index)
    }

    /// How the target at this place stands.
    pub fn load(&self, index: usize) -> Option<&Arc<Load>> {
        self.loads.get(index)
    }

    /// How all stand at that time, in their order.
    pub fn stands(&self, now: u64) -> impl Iterator<Item = (&Load, Stand)> {
        let stand = move |load: &Load| self.standing.as_ref().map_or(Stand::Full, |standing| standing.of(load, now));
        self.loads.iter().map(move |load| (&**load, stand(load)))
    }

    /// Takes note of how a request to the target at this place ended, and says what becomes of the target.
    pub fn note(&self, index: usize, ended: Failure, probe: bool) -> Option<Turn> {
        self.ejection.as_ref()?.note(self.loads.get(index)?, &self.loads, ended, probe)
    }

    /// The cookie to set for a client that was sent to the target at this place; none where it has it.
    pub fn cookie(&self, index: usize, asking: &Asking<'_>) -> Option<HeaderValue> {
        match &self.how {
            How::Sticky(sticky) if asking.cookie.and_then(|value| sticky.target(value)) != Some(index) => {
                sticky.cookie(index, asking.secure)
            }
            _ => None,
        }
    }

    /// The path parameter that the choice goes by.
    pub fn param(&self) -> Option<&str> {
        match &self.how {
            How::Hash { key: Key::Param(name), .. } => Some(name),
            _ => None,
        }
    }
}

impl Ranked {
    /// The next in turn of those that are free. Where a whole round finds none, it is drawn by lot: turns can be long.
    fn next(&self, free: impl Fn(&Member) -> bool) -> Option<&Member> {
        let members = self.group.members();
        let mut turns = members.iter().filter_map(|_| members.get(self.rotation.as_ref()?.next()));
        turns.find(|member| free(member)).or_else(|| self.group.random(free))
    }
}

fn hashed(config: &HashConfig) -> Result<How, BuildError> {
    let bound = config.bound.unwrap_or(BOUND);
    // Not a number is not above 1 either.
    if !(bound > 1.0 && bound.is_finite()) {
        return Err(
            BuildError::new(format!("`{bound}` leaves no room above an even share"), "write a number above 1, like 1.25").at("bound")
        );
    }
    let one =
        || BuildError::new("one key is needed, no more and no less", "write one of `header`, `cookie`, `client_ip: true` and `param`");
    let key = match (&config.header, &config.cookie, config.client_ip, &config.param) {
        (Some(name), None, false, None) => HeaderName::try_from(name.as_str())
            .map(Key::Header)
            .map_err(|_| BuildError::new(format!("`{name}` is not a header name"), "write one like `X-Tenant`").at("header")),
        (None, Some(name), false, None) => cookie::name(name).map(|name| Key::Cookie(name.into())).map_err(|error| error.at("cookie")),
        (None, None, true, None) => Ok(Key::ClientIp),
        (None, None, false, Some(name)) => Ok(Key::Param(name.as_str().into())),
        _ => Err(one()),
    };
    Ok(How::Hash { key: key?, bound })
}

impl Key {
    /// The hash of the request's key; none where it has none, or an empty one.
    pub fn of(&self, req: &RequestHeader, cx: &Ctx) -> Option<u64> {
        let value = match self {
            Key::Header(name) => req.headers.get(name)?.as_bytes(),
            Key::Cookie(name) => cookie::find(&req.headers, name)?,
            Key::Param(name) => cx.param(name)?.as_bytes(),
            Key::Consumer => cx.consumer.as_ref()?.name.as_bytes(),
            Key::ClientIp => {
                return Some(match cx.client.to_canonical() {
                    IpAddr::V4(address) => hash(&[&address.octets()]),
                    IpAddr::V6(address) => hash(&[address.octets().get(..8)?]),
                });
            }
        };
        (!value.is_empty()).then(|| hash(&[value]))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Header(name) => write!(f, "header `{name}`"),
            Key::Cookie(name) => write!(f, "cookie `{name}`"),
            Key::Param(name) => write!(f, "path parameter `{name}`"),
            Key::ClientIp => f.write_str("client address"),
            Key::Consumer => f.write_str("consumer"),
        }
    }
}

#[cfg(test)]
mod tests;
