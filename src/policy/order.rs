//! Orders of policies that make no sense, though each policy is right by itself. Only what is certainly not meant is told.

use super::traffic::rate_limit::By;
use super::{Entry, PolicyConfig, Scope};
use crate::building::BuildError;
use crate::expr::variables;

/// One policy of a chain: where it was written, its place in the list there, and its settings.
type Placed<'a> = (Scope, usize, &'a PolicyConfig);

/// A doubt about two policies of a chain, by their places in it: the second is the one to move.
#[derive(Debug)]
pub struct Doubt {
    /// The one that stands above, where it is about two.
    pub above: Option<usize>,
    /// The one that the doubt is about.
    pub below: usize,
    /// What is wrong with it and what to do, without a path.
    pub error: BuildError,
}

/// What is doubtful about the order of a whole chain; `versions` says whether its route has some.
pub fn doubts(chain: &[Placed<'_>], versions: bool) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    for (below, (scope, _, lower)) in chain.iter().enumerate() {
        // One doubt about each policy is enough: the first that it stands below.
        let found = chain.iter().take(below).enumerate().find_map(|(above, (_, _, upper))| doubt(upper, lower).map(|error| (above, error)));
        doubts.extend(found.map(|(above, error)| Doubt { above: Some(above), below, error }));
        // A wider list may be for other routes.
        let missing = if *scope == Scope::Route { wanting(chain, lower, versions) } else { Vec::new() };
        doubts.extend(missing.into_iter().map(|error| Doubt { above: None, below, error }));
    }
    doubts
}

/// Something that an `acl` asks about.
struct Asked {
    /// Whether a policy finds it out.
    finds: fn(&PolicyConfig) -> bool,
    what: &'static str,
    /// Who would.
    who: &'static str,
}

/// The variables of a policy's templates that nothing in its chain gives a value.
fn wanting(chain: &[Placed<'_>], policy: &PolicyConfig, versions: bool) -> Vec<BuildError> {
    let edits = match policy {
        PolicyConfig::request(request) => &request.headers,
        PolicyConfig::response(response) => &response.headers,
        _ => return Vec::new(),
    };
    let has = |is: fn(&PolicyConfig) -> bool| chain.iter().any(|(_, _, policy)| is(policy));
    let tokens = has(|policy| matches!(policy, PolicyConfig::jwt(_)));
    let consumers = has(identifies);
    let variables = edits.set.values().chain(edits.add.values()).flat_map(|text| variables(text));
    let missing = variables.filter_map(|name| {
        let fix = match name {
            "version" if !versions => "the route has no `versions`: take it out",
            "consumer.name" if !consumers => "put `api_key`, or `jwt` with `consumer`, into the list, or take it out",
            name if name.starts_with("claims.") && !tokens => "put `jwt` into the list, or take it out",
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
        (PolicyConfig::api_key(_) | PolicyConfig::jwt(_), PolicyConfig::cors(_)) => (
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

/// Whether a policy finds out who the consumer is.
pub fn identifies(policy: &PolicyConfig) -> bool {
    match policy {
        PolicyConfig::api_key(_) => true,
        PolicyConfig::jwt(jwt) => jwt.consumer.is_some(),
        _ => false,
    }
}

/// Whether a policy may refuse a request.
fn refuses(policy: &PolicyConfig) -> bool {
    use PolicyConfig::{api_key, ip_filter, jwt, rate_limit};
    matches!(policy, api_key(_) | jwt(_) | ip_filter(_) | rate_limit(_))
}

#[cfg(test)]
mod tests {
    use super::super::merge;
    use super::*;
    use crate::policy::kit::yaml;

    /// The doubts about a list of policies: who stands above whom.
    fn told(list: &str) -> Vec<String> {
        let entries: Vec<Entry> = yaml(list).unwrap();
        let chain = merge(&[(Scope::Document, &entries)]);
        let doubts = doubts(&chain, false);
        doubts.iter().map(|doubt| format!("{} > {}: {}", doubt.above.unwrap(), doubt.below, doubt.error.reason)).collect()
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
            ("[ip_filter: {deny: [10.0.0.1]}, request_id]", "0 > 1: `request_id` stands below `ip_filter`"),
        ] {
            let told = told(list);
            assert!(told.len() == 1 && told[0].starts_with(expected), "{list}: {told:?}");
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
        ] {
            assert_eq!(told(list), [""; 0], "{list}");
        }
    }
}
