//! Orders of policies that make no sense, though each policy is right by itself. Only what is certainly not meant is told.

use super::guard::size_limit::Server;
use super::traffic::rate_limit::By;
use super::{Entry, PolicyConfig, Scope};
use crate::building::BuildError;
use crate::expr::variables;

/// One policy of a chain: where it was written, its place in the list there, and its settings.
type Placed<'a> = (Scope, usize, &'a PolicyConfig);

/// A doubt about a policy of a chain, by its place in it: the one to move.
#[derive(Debug)]
pub struct Doubt {
    /// The other one, where it is about two.
    pub other: Option<usize>,
    /// The one that the doubt is about.
    pub place: usize,
    /// What is wrong with it and what to do, without a path.
    pub error: BuildError,
}

/// What is doubtful about the order of a whole chain; `versions` says whether its route has some.
pub fn doubts(chain: &[Placed<'_>], versions: bool) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    for (below, (scope, _, lower)) in chain.iter().enumerate() {
        // One doubt about each policy is enough: the first that it stands below.
        let found = chain.iter().take(below).enumerate().find_map(|(above, (_, _, upper))| doubt(upper, lower).map(|error| (above, error)));
        doubts.extend(found.map(|(above, error)| Doubt { other: Some(above), place: below, error }));
        doubts.extend(insecure(lower).into_iter().map(|error| Doubt { other: None, place: below, error }));
        // A wider list may be for other routes.
        let missing = if *scope == Scope::Route { wanting(chain, lower, versions) } else { Vec::new() };
        doubts.extend(missing.into_iter().map(|error| Doubt { other: None, place: below, error }));
    }
    doubts
}

/// What comes from another machine without TLS, and should not.
fn insecure(policy: &PolicyConfig) -> Vec<BuildError> {
    match policy {
        PolicyConfig::jwt(jwt) => jwt.plain(),
        PolicyConfig::introspection(introspection) => introspection.plain().into_iter().collect(),
        PolicyConfig::any_of(any_of) => {
            let told = any_of
                .settings()
                .enumerate()
                .flat_map(|(at, policy)| insecure(policy).into_iter().map(move |error| error.at(policy.name()).at(at)));
            told.collect()
        }
        _ => Vec::new(),
    }
}

/// Something that an `acl` asks about.
struct Asked {
    /// Whether a policy finds it out.
    finds: fn(&PolicyConfig) -> bool,
    what: &'static str,
    /// Who would.
    who: &'static str,
}

/// Who is asked by an `acl` what no policy above it has found out, in the chain of a route: it lets nobody through.
pub fn blind(chain: &[Placed<'_>]) -> Vec<Doubt> {
    let mut found = Vec::new();
    for (place, (_, _, policy)) in chain.iter().enumerate() {
        let PolicyConfig::acl(acl) = policy else { continue };
        let consumer =
            Asked { finds: identifies, what: "who the consumer is", who: "`api_key`, `basic`, `hmac`, `mtls`, or `jwt` with `consumer`" };
        let token = Asked { finds: reads_tokens, what: "what the token says", who: "`jwt` or `introspection`" };
        let asked = [(acl.asks_consumer(), consumer), (acl.asks_token(), token)];
        for (_, Asked { finds, what, who }) in asked.into_iter().filter(|(asks, _)| *asks) {
            if chain.iter().take(place).any(|(_, _, above)| finds(above)) {
                continue;
            }
            let later = chain.iter().enumerate().skip(place).find(|(_, (_, _, below))| finds(below));
            let (other, error) = match later {
                Some((at, (_, _, later))) => {
                    let name = later.name();
                    let reason = format!("`acl` stands above `{name}`, which finds out {what}: it lets nobody through");
                    (Some(at), BuildError::new(reason, format!("put it below `{name}`")))
                }
                None => {
                    let reason = format!("no policy above `acl` finds out {what}: it lets nobody through");
                    (None, BuildError::new(reason, format!("put {who} above it")))
                }
            };
            found.push(Doubt { other, place, error });
        }
    }
    found
}

/// The variables of a policy's templates that nothing in its chain gives a value.
fn wanting(chain: &[Placed<'_>], policy: &PolicyConfig, versions: bool) -> Vec<BuildError> {
    let edits = match policy {
        PolicyConfig::request(request) => &request.headers,
        PolicyConfig::response(response) => &response.headers,
        _ => return Vec::new(),
    };
    let has = |is: fn(&PolicyConfig) -> bool| chain.iter().any(|(_, _, policy)| is(policy));
    let tokens = has(reads_tokens);
    let consumers = has(identifies);
    let variables = edits.set.values().chain(edits.add.values()).flat_map(|text| variables(text));
    let missing = variables.filter_map(|name| {
        let fix = match name {
            "version" if !versions => "the route has no `versions`: take it out",
            name if name.starts_with("consumer.") && !consumers => {
                "put `api_key`, `basic`, `hmac`, `mtls`, or `jwt` with `consumer`, into the list, or take it out"
            }
            name if name.starts_with("claims.") && !tokens => "put `jwt` or `introspection` into the list, or take it out",
            _ => return None,
        };
        Some(BuildError::new(format!("`{{{name}}}` never has a value here"), fix))
    });
    missing.collect()
}

fn doubt(upper: &PolicyConfig, lower: &PolicyConfig) -> Option<BuildError> {
    let (above, below) = (upper.name(), lower.name());
    let (reason, fix) = match (upper, lower) {
        (PolicyConfig::rate_limit(limit), lower) if limit.by == By::Consumer && identifies(lower) => (
            format!("`rate_limit` by consumer stands above `{below}`, which finds out who the consumer is: it counts addresses"),
            format!("put it below `{below}`, or write `by: client_ip` if addresses are meant"),
        ),
        (PolicyConfig::rate_limit(one), PolicyConfig::rate_limit(other)) if one.name == other.name && one.headers && other.headers => (
            format!("two limits are named `{}`: clients cannot tell them apart in the `RateLimit` headers", one.name),
            "give one of them another `name`".to_owned(),
        ),
        (upper, PolicyConfig::anonymous(_)) if asks_who(upper) && !matches!(upper, PolicyConfig::acl(_)) => (
            format!("`anonymous` stands below `{above}`, which refuses every request that does not say who calls"),
            format!("write `any_of: [{above}, anonymous]`"),
        ),
        (upper, PolicyConfig::cors(_)) if asks_who(upper) => (
            format!("`cors` stands below `{above}`, which refuses every preflight: browsers send no credentials with one"),
            format!("put `cors` above `{above}`"),
        ),
        (PolicyConfig::rate_limit(_), PolicyConfig::cors(_)) => (
            "`cors` stands below `rate_limit`: preflights count, and scripts cannot read a 429".to_owned(),
            "put `cors` above `rate_limit`".to_owned(),
        ),
        (upper, PolicyConfig::request_id(_)) if refuses(upper) => {
            (format!("`request_id` stands below `{above}`, whose refusals go without the id"), "put `request_id` first".to_owned())
        }
        _ => return None,
    };
    Some(BuildError::new(reason, fix))
}

/// What cannot stand twice in one list and does, at paths relative to the list.
pub fn doubled(list: &[Entry]) -> Vec<BuildError> {
    let cors = |entry: &Entry| matches!(entry.config, Some(PolicyConfig::cors(_)));
    let mut places = list.iter().enumerate().filter(|(_, entry)| cors(entry)).map(|(place, _)| place);
    let first = places.next().unwrap_or_default();
    let error = |place: usize| {
        let fix = "put all origins into one; a route may have its own, in the place of a wider one";
        let error = BuildError::new("`cors` stands twice in this list: an answer can say it only once", fix);
        error.at("cors").at(place).beside([first.into(), "cors".into()])
    };
    places.map(error).collect()
}

/// What is set in a list and changes nothing, since the server takes no more anyway: at paths relative to the list.
pub fn beyond(list: &[Entry], server: Server) -> Vec<BuildError> {
    let mut found = Vec::new();
    for (place, entry) in list.iter().enumerate() {
        if let Some(PolicyConfig::size_limit(limit)) = &entry.config {
            found.extend(limit.beyond(server).into_iter().map(|error| error.at("size_limit").at(place)));
        }
    }
    found
}

/// Whether a policy finds out who the consumer is.
pub fn identifies(policy: &PolicyConfig) -> bool {
    match policy {
        PolicyConfig::api_key(_) | PolicyConfig::basic(_) | PolicyConfig::hmac(_) | PolicyConfig::mtls(_) => true,
        PolicyConfig::jwt(jwt) => jwt.identifies(),
        PolicyConfig::introspection(introspection) => introspection.identifies(),
        PolicyConfig::external(external) => external.consumer.is_some(),
        PolicyConfig::any_of(any_of) => any_of.settings().any(identifies),
        PolicyConfig::anonymous(anonymous) => anonymous.consumer.is_some(),
        _ => false,
    }
}

/// Whether a policy goes by certificates of clients.
pub fn reads_certificates(policy: &PolicyConfig) -> bool {
    match policy {
        PolicyConfig::mtls(_) => true,
        PolicyConfig::any_of(any_of) => any_of.settings().any(reads_certificates),
        _ => false,
    }
}

/// Whether a policy makes the claims of a token known.
pub fn reads_tokens(policy: &PolicyConfig) -> bool {
    match policy {
        PolicyConfig::jwt(_) | PolicyConfig::introspection(_) => true,
        PolicyConfig::any_of(any_of) => any_of.settings().any(reads_tokens),
        _ => false,
    }
}

/// Whether a policy refuses requests that do not say who calls.
fn asks_who(policy: &PolicyConfig) -> bool {
    match policy {
        PolicyConfig::api_key(_) | PolicyConfig::basic(_) | PolicyConfig::jwt(_) | PolicyConfig::introspection(_) => true,
        PolicyConfig::hmac(_) | PolicyConfig::external(_) | PolicyConfig::acl(_) => true,
        // Browsers show none with a preflight.
        PolicyConfig::mtls(mtls) => mtls.required,
        PolicyConfig::any_of(any_of) => !any_of.settings().any(|policy| matches!(policy, PolicyConfig::anonymous(_))),
        _ => false,
    }
}

/// Whether a policy may refuse a request.
fn refuses(policy: &PolicyConfig) -> bool {
    use PolicyConfig::{any_of, bot, ip_filter, mtls, rate_limit, size_limit};
    asks_who(policy) || matches!(policy, any_of(_) | bot(_) | ip_filter(_) | mtls(_) | rate_limit(_) | size_limit(_))
}

#[cfg(test)]
mod tests {
    use super::super::merge;
    use super::*;
    use crate::policy::kit::yaml;

    const INTROSPECTION: &str =
        "[introspection: {url: 'https://a/i', client_id: a, client_secret: b, audience: any}, cors: {origins: ['*']}]";

    /// The doubts about a list of policies: who stands above whom.
    fn told(list: &str) -> Vec<String> {
        let entries: Vec<Entry> = yaml(list).unwrap();
        let chain = merge(&[(Scope::Document, &entries)]);
        shown(doubts(&chain, false))
    }

    fn shown(doubts: Vec<Doubt>) -> Vec<String> {
        let place = |doubt: &Doubt| doubt.other.map_or(format!("{}", doubt.place), |other| format!("{other} > {}", doubt.place));
        doubts.iter().map(|doubt| format!("{}: {}", place(doubt), doubt.error.reason)).collect()
    }

    #[test]
    fn orders_that_cannot_be_meant_are_told() {
        for (list, expected) in [
            ("[rate_limit: {requests: 1, per: 1s}, api_key]", "0 > 1: `rate_limit` by consumer stands above `api_key`"),
            (
                "[rate_limit: {requests: 1, per: 1s}, jwt: {issuer: any, audience: any, consumer: sub}]",
                "0 > 1: `rate_limit` by consumer stands above `jwt`",
            ),
            (
                "[rate_limit: {requests: 1, per: 1s, by: client_ip}, rate_limit: {requests: 9, per: 1m, by: client_ip}]",
                "0 > 1: two limits are named `default`",
            ),
            ("[api_key, request: {headers: {}}, cors: {origins: ['*']}]", "0 > 2: `cors` stands below `api_key`, which refuses"),
            ("[rate_limit: {requests: 1, per: 1s}, cors: {origins: ['*']}]", "0 > 1: `cors` stands below `rate_limit`"),
            ("[cors: {origins: ['*']}, api_key, request_id]", "1 > 2: `request_id` stands below `api_key`"),
            ("[hmac, cors: {origins: ['*']}]", "0 > 1: `cors` stands below `hmac`, which refuses"),
            ("[rate_limit: {requests: 1, per: 1s}, hmac]", "0 > 1: `rate_limit` by consumer stands above `hmac`"),
            ("[acl: {groups: [a]}, cors: {origins: ['*']}]", "0 > 1: `cors` stands below `acl`, which refuses"),
            ("[ip_filter: {deny: [10.0.0.1]}, request_id]", "0 > 1: `request_id` stands below `ip_filter`"),
            ("[any_of: [api_key, {anonymous: {consumer: a}}], request_id]", "0 > 1: `request_id` stands below `any_of`"),
            ("[rate_limit: {requests: 1, per: 1s}, any_of: [api_key]]", "0 > 1: `rate_limit` by consumer stands above `any_of`"),
            ("[api_key, anonymous]", "0 > 1: `anonymous` stands below `api_key`, which refuses every request"),
            ("[external: {service: a}, cors: {origins: ['*']}]", "0 > 1: `cors` stands below `external`, which refuses"),
            ("[rate_limit: {requests: 1, per: 1s}, external: {service: a, consumer: X-A}]", "0 > 1: `rate_limit` by consumer stands above"),
            (INTROSPECTION, "0 > 1: `cors` stands below `introspection`, which refuses"),
            ("[basic, cors: {origins: ['*']}]", "0 > 1: `cors` stands below `basic`, which refuses"),
            ("[rate_limit: {requests: 1, per: 1s}, basic]", "0 > 1: `rate_limit` by consumer stands above `basic`"),
        ] {
            let told = told(list);
            assert!(told.len() == 1 && told[0].starts_with(expected), "{list}: {told:?}");
        }
    }

    #[test]
    fn an_acl_needs_above_it_what_it_asks_about() {
        const JWT: &str = "jwt: {issuer: any, audience: any}";
        const NAMING: &str = "jwt: {issuer: any, audience: any, consumer: sub}";
        for (list, expected) in [
            (format!("[acl: {{groups: [a]}}, {JWT}, api_key]"), "2 > 0: `acl` stands above `api_key`, which finds out who the consumer is"),
            (format!("[acl: {{scopes: [a]}}, api_key, {JWT}]"), "2 > 0: `acl` stands above `jwt`, which finds out what the token says"),
            (format!("[{JWT}, acl: {{consumers: [a]}}]"), "1: no policy above `acl` finds out who the consumer is"),
            ("[api_key, acl: {claims: {a: [b]}}]".to_owned(), "1: no policy above `acl` finds out what the token says"),
            (format!("[api_key, acl: {{groups: [a], roles: [b]}}, {NAMING}]"), "2 > 1: `acl` stands above `jwt`, which finds out what"),
        ] {
            let entries: Vec<Entry> = yaml(&list).unwrap();
            let told = shown(blind(&merge(&[(Scope::Document, &entries)])));
            assert!(told.len() == 1 && told[0].starts_with(expected), "{list}: {told:?}");
        }
        for list in [
            format!("[{NAMING}, acl: {{groups: [a], scopes: [b]}}]"),
            format!("[api_key, acl: {{groups: [a]}}, {JWT}, acl: {{roles: [b]}}]"),
            "[acl: {condition: \"has(consumer.name) || client.ip == '10.0.0.1'\"}]".to_owned(),
        ] {
            let entries: Vec<Entry> = yaml(&list).unwrap();
            assert_eq!(shown(blind(&merge(&[(Scope::Document, &entries)]))), [""; 0], "{list}");
        }
    }

    #[test]
    fn keys_that_come_without_tls_from_another_machine_are_told() {
        for (settings, place) in [
            ("issuer: 'http://id.test'", "issuer: "),
            ("issuer: any, jwks: 'http://id.test/keys'", "jwks: "),
            ("issuers: [{issuer: 'https://id.test'}, {issuer: 'http://10.0.0.1'}]", "issuers[1].issuer: "),
        ] {
            let list = format!("[jwt: {{ audience: any, fetch: {{ allow_http: true }}, {settings} }}]");
            let entries: Vec<Entry> = yaml(&list).unwrap();
            let doubts = doubts(&merge(&[(Scope::Document, &entries)]), false);
            let error = doubts[0].error.to_string();
            assert!(doubts.len() == 1 && error.starts_with(place) && error.contains("without TLS"), "{doubts:?}");
        }
        for settings in
            ["issuer: 'http://127.0.0.1:80/a'", "issuer: 'http://localhost'", "issuer: 'http://[::1]:1'", "issuer: 'https://id.test'"]
        {
            let none = told(&format!("[jwt: {{ audience: any, fetch: {{ allow_http: true }}, {settings} }}]"));
            assert_eq!(none, [""; 0], "{settings}");
        }
    }

    #[test]
    fn orders_that_make_sense_are_left_alone() {
        for list in [
            "[request_id, cors: {origins: ['*']}, api_key, rate_limit: {requests: 1, per: 1s}]",
            "[rate_limit: {requests: 1, per: 1s, by: client_ip, name: flood}, api_key, rate_limit: {requests: 1, per: 1s}]",
            "[rate_limit: {requests: 1, per: 1s}, jwt: {issuer: any, audience: any}]",
            "[rate_limit: {requests: 1, per: 1s}, rate_limit: {requests: 1, per: 1s, headers: false}]",
            "[cors: {origins: ['*']}, request_id, jwt: {issuer: any, audience: any}]",
            "[any_of: [api_key, anonymous], cors: {origins: ['*']}]",
            "[any_of: [api_key, anonymous], anonymous: {consumer: a}]",
        ] {
            assert_eq!(told(list), [""; 0], "{list}");
        }
    }
}
