use std::collections::HashSet;

use prometheus::Error;
use prometheus::core::Collector;

use super::{AuthMetrics, Metrics, ProcessMetrics};

/// What the present config has.
#[derive(Debug)]
pub struct Kept<'a> {
    /// Its routes.
    pub routes: HashSet<&'a str>,
    /// Its services.
    pub services: HashSet<&'a str>,
    /// The names that targets go by.
    pub names: HashSet<&'a str>,
    /// Who is asked about tokens.
    pub sources: HashSet<&'a str>,
    /// Who gives tokens for services, to which client, and what for.
    pub tokens: HashSet<[&'a str; 4]>,
    /// The services that have a breaker.
    pub breakers: HashSet<&'a str>,
    /// Services with the targets that may be ejected.
    pub ejected: HashSet<(&'a str, &'a str)>,
    /// Services with the targets that are checked.
    pub checked: HashSet<(&'a str, &'a str)>,
}

impl Metrics {
    /// Forgets a target that a service has no more.
    pub fn forget_target(&self, service: &str, target: &str) {
        let gone = |labels: &[&str]| matches!(labels, [a, b, ..] if *a == service && *b == target);
        let ProcessMetrics { ejected, healthy, checks, .. } = &self.process;
        for family in [ejected, healthy] {
            remove(family, gone, |labels| family.remove_label_values(labels));
        }
        remove(checks, gone, |labels| checks.remove_label_values(labels));
    }

    /// Forgets the consumers that are not known any more.
    pub fn keep_consumers(&self, known: impl Fn(&str) -> bool) {
        self.shards.iter().for_each(|shard| shard.consumers.keep(&known));
    }

    /// Forgets everything but these.
    pub fn keep(&self, kept: &Kept<'_>) {
        let Kept { routes, services, names, sources, tokens, breakers, ejected, checked } = kept;
        let ProcessMetrics { dns_lookups, dns_addresses, dns_answered, healthy, checks, jwks, tokens: fetched, .. } = &self.process;
        keep(dns_lookups, names, |labels| dns_lookups.remove_label_values(labels));
        for family in [dns_addresses, dns_answered] {
            keep(family, names, |labels| family.remove_label_values(labels));
        }
        keep(&jwks.refreshes, sources, |labels| jwks.refreshes.remove_label_values(labels));
        for family in [&jwks.fetched, &jwks.keys] {
            keep(family, sources, |labels| family.remove_label_values(labels));
        }
        let not_in = |targets: &HashSet<(&str, &str)>, labels: &[&str]| matches!(labels, [service, target, ..] if !targets.contains(&(*service, *target)));
        let no_token = |labels: &[&str]| labels.first_chunk().is_some_and(|labels| !tokens.contains(labels));
        remove(&fetched.refreshes, no_token, |labels| fetched.refreshes.remove_label_values(labels));
        remove(&fetched.ends, no_token, |labels| fetched.ends.remove_label_values(labels));
        remove(healthy, |labels| not_in(checked, labels), |labels| healthy.remove_label_values(labels));
        remove(checks, |labels| not_in(checked, labels), |labels| checks.remove_label_values(labels));
        remove(&self.process.ejected, |labels| not_in(ejected, labels), |labels| self.process.ejected.remove_label_values(labels));
        keep(&self.process.breakers, breakers, |labels| self.process.breakers.remove_label_values(labels));
        for shard in &self.shards {
            let families = [
                &shard.requests,
                &shard.received,
                &shard.sent,
                &shard.splits,
                &shard.grpc_calls,
                &shard.parts,
                &shard.part_cache,
                &shard.batch_requests,
            ];
            for family in families {
                keep(family, routes, |labels| family.remove_label_values(labels));
            }
            for family in [&shard.duration, &shard.part_duration] {
                keep(family, routes, |labels| family.remove_label_values(labels));
            }
            for family in [&shard.parts_running, &shard.batch_running] {
                keep(family, routes, |labels| family.remove_label_values(labels));
            }
            let AuthMetrics { introspections, introspection_duration, external, external_duration } = &shard.auth;
            keep(external, services, |labels| external.remove_label_values(labels));
            keep(external_duration, services, |labels| external_duration.remove_label_values(labels));
            keep(introspections, sources, |labels| introspections.remove_label_values(labels));
            keep(introspection_duration, sources, |labels| introspection_duration.remove_label_values(labels));
            keep(&shard.websockets, services, |labels| shard.websockets.remove_label_values(labels));
            let websockets = [&shard.websocket_messages, &shard.websocket_bytes, &shard.websocket_closes];
            for family in [&shard.retries, &shard.fallbacks, &shard.mirrors, &shard.credentials_missing].into_iter().chain(websockets) {
                keep(family, services, |labels| family.remove_label_values(labels));
            }
            keep(&shard.upstream_duration, services, |labels| shard.upstream_duration.remove_label_values(labels));
        }
    }
}

/// Removes the series whose first label is not among `known`.
fn keep(family: &impl Collector, known: &HashSet<&str>, forget: impl Fn(&[&str]) -> Result<(), Error>) {
    remove(family, |labels| labels.first().is_some_and(|name| !known.contains(name)), forget);
}

/// Removes the series whose labels are `gone`.
pub(super) fn remove(family: &impl Collector, gone: impl Fn(&[&str]) -> bool, forget: impl Fn(&[&str]) -> Result<(), Error>) {
    let names: Vec<String> = family.desc().first().map(|desc| desc.variable_labels.clone()).unwrap_or_default();
    for family in family.collect() {
        for metric in family.get_metric() {
            // A metric has them in the order of the alphabet.
            let value = |name: &String| metric.get_label().iter().find(|label| label.name() == name).map_or("", |label| label.value());
            let labels: Vec<&str> = names.iter().map(value).collect();
            if gone(&labels) {
                let _ = forget(&labels);
            }
        }
    }
}
