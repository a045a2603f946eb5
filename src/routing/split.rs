//! A destination of several services with shares: which of them a request goes to. It is chosen once the policies that all of them have in common, from
//! the top, are through: so it can go by the consumer, and the chosen service's own policies run.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use indexmap::IndexMap;
use pingora_http::RequestHeader;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use crate::building::BuildError;
use crate::ctx::Ctx;
use crate::types::{Duration, Secret};
use crate::upstream::{self, Group, Key, SameSite, Sticky, cookie};

/// `to:` — the name of a service, or several services with their shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToConfig {
    /// This service.
    Service(String),
    /// These, in proportion to the numbers.
    Shares(IndexMap<String, u32>),
}

impl ToConfig {
    /// The services that it names.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        let (one, several) = match self {
            ToConfig::Service(name) => (Some(name), None),
            ToConfig::Shares(shares) => (None, Some(shares.keys())),
        };
        one.into_iter().chain(several.into_iter().flatten()).map(String::as_str)
    }
}

impl JsonSchema for ToConfig {
    fn schema_name() -> Cow<'static, str> {
        "To".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The name of a service, or several with their shares: `{ stable: 95, canary: 5 }`. A service with 0 gets nothing but what is forced.",
            "anyOf": [
                {"type": ["string", "number", "boolean"]},
                {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0, "maximum": u32::MAX}, "minProperties": 1}
            ]
        })
    }
}

impl<'de> Deserialize<'de> for ToConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = ToConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a service, or several with their shares like `{ stable: 95, canary: 5 }`")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<ToConfig, E> {
                Ok(ToConfig::Service(name.to_owned()))
            }

            fn visit_u64<E: de::Error>(self, name: u64) -> Result<ToConfig, E> {
                Ok(ToConfig::Service(name.to_string()))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<ToConfig, A::Error> {
                IndexMap::deserialize(de::value::MapAccessDeserializer::new(map)).map(ToConfig::Shares)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// `sticky:` beside shares — what keeps a caller at one of the services: just one of `by`, `header` and `cookie`. By the first two a hash decides: it is
/// the same at every gateway and after a restart, and while a service's share grows, callers come to it and none leaves. A request without what it goes
/// by is drawn by lot.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "SplitStickyConfig", extend("oneOf" = [{"required": ["by"]}, {"required": ["header"]}, {"required": ["cookie"]}]))]
pub struct StickyConfig {
    /// Who calls: `consumer` or `client_ip`. A consumer must be found out by a policy that comes before any service's own: one of the document's, or one
    /// of the route's where the services have none.
    pub by: Option<Caller>,
    /// The value of this request header.
    pub header: Option<String>,
    /// A cookie of this name, which the first answer sets: a caller stays where the lot first sent it, for as long as that service has a share.
    pub cookie: Option<String>,
    /// How long the client keeps the cookie, in whole seconds, counted from when it is set. Default: until the browser is closed.
    pub ttl: Option<Duration>,
    /// The paths that the client sends the cookie with. Default: `/`.
    pub path: Option<String>,
    /// Whether the client sends the cookie along from other sites: `strict`, `lax` or `none`. Default: lax.
    pub same_site: Option<SameSite>,
    /// The cookie is a hash of the service's name: who guesses the name can check the guess, and choose, unless this secret goes into it. Gateways that
    /// share clients must share it. Default: none.
    pub secret: Option<Secret>,
}

/// Who a caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Caller {
    /// The consumer.
    Consumer,
    /// The client's address; of IPv6 its /64 network, since one client has all of it.
    ClientIp,
}

/// `force:` beside shares — where a request itself can name the service that it wants, whatever the shares: for testers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ForceConfig {
    /// In this header.
    Header(String),
    /// In this cookie.
    Cookie(String),
}

/// Shares, ready to choose by.
#[derive(Debug)]
pub struct Split {
    /// The place of its first service's way among those of the route; the others follow.
    first: usize,
    services: Box<[(Arc<str>, u32)]>,
    group: Group,
    sticky: Option<Kept>,
    force: Option<Force>,
}

#[derive(Debug)]
enum Kept {
    Hash(Key),
    Cookie(Sticky),
}

#[derive(Debug)]
enum Force {
    Header(HeaderName),
    Cookie(Box<str>),
}

/// Where a request goes.
#[derive(Debug)]
pub struct Choice {
    /// The way of the chosen service among those of the route.
    pub way: usize,
    /// What decided.
    pub by: By,
    /// A `Set-Cookie` for the client.
    pub cookie: Option<HeaderValue>,
}

/// What decides between the services of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The request names one.
    Force,
    /// What `sticky` goes by.
    Sticky,
    /// Nothing: it is drawn.
    Lot,
}

impl Split {
    /// Prepares the choice.
    ///
    /// # Errors
    /// Shares that leave nothing to choose, or settings that cannot be kept; at paths beside `to`.
    pub fn build(
        shares: &IndexMap<String, u32>,
        sticky: Option<&StickyConfig>,
        force: Option<&ForceConfig>,
        first: usize,
    ) -> Result<Self, BuildError> {
        let members = shares.iter().enumerate().map(|(index, (name, share))| (index, *share, upstream::hash(&[name.as_bytes()])));
        let group = Group::build(members).map_err(|_| {
            let reason = if shares.is_empty() { "there is no service" } else { "every share is zero" };
            BuildError::new(reason, "give at least one service a share above zero, like `{ stable: 95, canary: 5 }`").at("to")
        })?;
        let sticky = sticky.map(|config| Kept::build(config, shares).map_err(|error| error.at("sticky"))).transpose()?;
        let force = force.map(|config| Force::build(config).map_err(|error| error.at("force"))).transpose()?;
        let services = shares.iter().map(|(name, share)| (name.as_str().into(), *share)).collect();
        Ok(Self { first, services, group, sticky, force })
    }

    /// Chooses a service. Allocates nothing.
    pub fn choose(&self, req: &RequestHeader, cx: &Ctx) -> Choice {
        let choice = |index: usize, by, cookie| Choice { way: self.first + index, by, cookie };
        if let Some(index) = self.force.as_ref().and_then(|force| self.place(force.name(req)?)) {
            return choice(index, By::Force, None);
        }
        let kept = match &self.sticky {
            Some(Kept::Hash(key)) => key.of(req, cx).and_then(|key| self.group.nearest(key, |_| true)).map(|member| member.index),
            Some(Kept::Cookie(sticky)) => cookie::find(&req.headers, &sticky.name).and_then(|value| sticky.target(value)),
            None => None,
        };
        if let Some(index) = kept {
            return choice(index, By::Sticky, None);
        }
        let index = self.group.random(|_| true).map_or(0, |member| member.index);
        let cookie = match &self.sticky {
            Some(Kept::Cookie(sticky)) => sticky.cookie(index, cx.scheme == "https"),
            _ => None,
        };
        choice(index, By::Lot, cookie)
    }

    fn place(&self, name: &[u8]) -> Option<usize> {
        self.services.iter().position(|(known, _)| known.as_bytes() == name)
    }

    /// The services with their shares.
    pub fn services(&self) -> &[(Arc<str>, u32)] {
        &self.services
    }

    /// Their ways among those of the route.
    pub fn ways(&self) -> std::ops::Range<usize> {
        self.first..self.first + self.services.len()
    }

    /// What keeps a caller at its service, in words.
    pub fn sticky(&self) -> Option<String> {
        self.sticky.as_ref().map(|kept| match kept {
            Kept::Hash(key) => key.to_string(),
            Kept::Cookie(sticky) => format!("cookie `{}`", sticky.name),
        })
    }
}

impl Kept {
    fn build(config: &StickyConfig, shares: &IndexMap<String, u32>) -> Result<Self, BuildError> {
        let StickyConfig { by, header, cookie, ttl, path, same_site, secret } = config;
        let of_cookie =
            [("ttl", ttl.is_some()), ("path", path.is_some()), ("same_site", same_site.is_some()), ("secret", secret.is_some())];
        let alone = of_cookie.iter().find(|(_, is_there)| *is_there && cookie.is_none());
        if let Some((key, _)) = alone {
            return Err(BuildError::new(format!("only a cookie has a `{key}`"), "remove it, or write `cookie: <name>`").at(*key));
        }
        match (by, header, cookie) {
            (Some(Caller::Consumer), None, None) => Ok(Kept::Hash(Key::Consumer)),
            (Some(Caller::ClientIp), None, None) => Ok(Kept::Hash(Key::ClientIp)),
            (None, Some(name), None) => header_name(name).map(|name| Kept::Hash(Key::Header(name))),
            (None, None, Some(name)) => {
                let config = upstream::StickyConfig {
                    cookie: name.clone(),
                    ttl: *ttl,
                    path: path.clone().unwrap_or_else(|| "/".to_owned()),
                    same_site: same_site.unwrap_or_default(),
                    secret: secret.clone(),
                };
                // Not of the route: its other routes to the same services keep to the same cookie.
                let services = shares.iter().map(|(name, share)| (name.as_str(), *share > 0));
                Sticky::build(&config, "split", services).map(Kept::Cookie)
            }
            _ => Err(BuildError::new("one thing to go by is needed, no more and no less", "write one of `by`, `header` and `cookie`")),
        }
    }
}

impl Force {
    fn build(config: &ForceConfig) -> Result<Self, BuildError> {
        match config {
            ForceConfig::Header(name) => header_name(name).map(Force::Header),
            ForceConfig::Cookie(name) => cookie::name(name).map(|name| Force::Cookie(name.into())).map_err(|error| error.at("cookie")),
        }
    }

    fn name<'a>(&self, req: &'a RequestHeader) -> Option<&'a [u8]> {
        match self {
            Force::Header(name) => req.headers.get(name).map(HeaderValue::as_bytes),
            Force::Cookie(name) => cookie::find(&req.headers, name),
        }
    }
}

fn header_name(name: &str) -> Result<HeaderName, BuildError> {
    let wrong = || BuildError::new(format!("`{name}` is not a header name"), "write one like `X-Tenant`").at("header");
    HeaderName::try_from(name).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use http::header;

    use super::*;
    use crate::ctx::testing;

    fn split(shares: &[(&str, u32)], beside: &str) -> Split {
        let shares = shares.iter().map(|(name, share)| ((*name).to_owned(), *share)).collect();
        let sticky: Option<StickyConfig> = (!beside.is_empty()).then(|| serde_json::from_str(beside).unwrap());
        Split::build(&shares, sticky.as_ref(), None, 0).unwrap()
    }

    fn request(lines: &[(&str, &str)]) -> RequestHeader {
        let mut req = RequestHeader::build("GET", b"/", None).unwrap();
        lines.iter().for_each(|(name, value)| drop(req.append_header((*name).to_owned(), *value)));
        req
    }

    /// Where each of so many tenants goes.
    fn homes(split: &Split, count: usize) -> Vec<usize> {
        let cx = testing::ctx("/", &[]);
        (0..count).map(|tenant| split.choose(&request(&[("x-tenant", &format!("tenant-{tenant}"))]), &cx).way).collect()
    }

    fn near(count: usize, all: usize, share: f64) -> bool {
        (count as f64 / all as f64 - share).abs() < 0.02
    }

    #[test]
    fn shares_are_kept_by_lot_and_by_hash() {
        for beside in ["", "{\"header\": \"X-Tenant\"}"] {
            let split = split(&[("a", 50), ("b", 30), ("c", 20), ("d", 0)], beside);
            let mut counts = HashMap::<usize, usize>::new();
            homes(&split, 100_000).into_iter().for_each(|way| *counts.entry(way).or_default() += 1);
            let count = |way| counts.get(&way).copied().unwrap_or_default();
            assert!(near(count(0), 100_000, 0.5) && near(count(1), 100_000, 0.3) && near(count(2), 100_000, 0.2), "{beside}: {counts:?}");
            assert_eq!(count(3), 0, "a share of nothing");
        }
    }

    #[test]
    fn while_a_share_grows_callers_come_and_none_leaves() {
        let by = "{\"header\": \"X-Tenant\"}";
        let mut before = homes(&split(&[("stable", 95), ("canary", 5)], by), 20_000);
        for (stable, canary) in [(90, 10), (75, 25), (50, 50), (0, 100)] {
            let after = homes(&split(&[("stable", stable), ("canary", canary)], by), 20_000);
            assert!(before.iter().zip(&after).all(|(before, after)| *before == 0 || *after == 1), "one has left at {canary}");
            let share = f64::from(canary) / f64::from(stable + canary);
            assert!(near(after.iter().filter(|way| **way == 1).count(), 20_000, share), "{canary}");
            before = after;
        }
        let (two, three) = ([("a", 50), ("b", 50)], [("a", 50), ("b", 50), ("c", 25)]);
        let moved = homes(&split(&two, by), 20_000).into_iter().zip(homes(&split(&three, by), 20_000)).filter(|(one, other)| one != other);
        assert!(moved.clone().all(|(_, to)| to == 2) && near(moved.count(), 20_000, 0.2), "only what the new one gets");
    }

    #[test]
    fn a_key_has_its_home_at_every_gateway_and_for_ever() {
        let split = split(&[("stable", 80), ("canary", 20)], "{\"header\": \"X-Tenant\"}");
        assert_eq!(homes(&split, 20), [0, 0, 0, 0, 0, 1, 0, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn a_cookie_names_the_service_for_as_long_as_that_has_a_share() {
        let by = "{\"cookie\": \"lane\", \"ttl\": \"1h\"}";
        let cx = testing::ctx("/", &[]);
        let first = split(&[("a", 50), ("b", 50)], by).choose(&request(&[]), &cx);
        let cookie = first.cookie.unwrap().to_str().unwrap().to_owned();
        assert!(cookie.starts_with("lane=") && cookie.ends_with("; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"), "{cookie}");
        let again = request(&[(header::COOKIE.as_str(), cookie.split(';').next().unwrap())]);
        let mut shares = [("a", 1), ("b", 1)];
        shares[1 - first.way].1 = 1_000_000;
        let choice = split(&shares, by).choose(&again, &cx);
        assert_eq!((choice.way, choice.by, choice.cookie), (first.way, By::Sticky, None));
        shares[first.way].1 = 0;
        let choice = split(&shares, by).choose(&again, &cx);
        assert!(choice.way != first.way && choice.by == By::Lot && choice.cookie.is_some());
    }

    #[test]
    fn a_tester_gets_what_it_names() {
        let shares = [("a".to_owned(), 1), ("b".to_owned(), 0)].into_iter().collect();
        let cx = testing::ctx("/", &[]);
        for (force, name, value) in [
            (ForceConfig::Header("X-Service".to_owned()), "x-service", "b"),
            (ForceConfig::Cookie("use".to_owned()), "cookie", "x=y; use=b"),
        ] {
            let split = Split::build(&shares, None, Some(&force), 3).unwrap();
            let choice = split.choose(&request(&[(name, value)]), &cx);
            assert_eq!((choice.way, choice.by), (4, By::Force), "{force:?}");
            let choice = split.choose(&request(&[(name, "z")]), &cx);
            assert_eq!((choice.way, choice.by), (3, By::Lot), "{force:?}");
        }
    }
}
