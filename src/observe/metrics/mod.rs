//! Every metric, by name. What happens on a request is counted in the worker's own shard, so that no core waits for another; the shards are added up
//! when someone asks.

mod auth;
mod consumers;
mod forget;
mod jwks;
mod store;
mod sum;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Error, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

pub use self::auth::AuthMetrics;
use self::consumers::{Consumers, Names};
pub use self::forget::Kept;
pub use self::jwks::JwksMetrics;
pub use self::store::StoreMetrics;
use self::sum::{Places, add, labels};
pub use self::tokens::TokenMetrics;

/// Upper bounds of the latency buckets, in seconds.
const LATENCY: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// What one worker counts.
#[derive(Debug)]
pub struct Shard {
    registry: Registry,
    /// Requests answered, by route and status.
    pub requests: IntCounterVec,
    /// Time from the request's header to the end of its answer, in seconds, by route.
    pub duration: HistogramVec,
    /// Time from the choice of a target to the end of its answer, in seconds, by service.
    pub upstream_duration: HistogramVec,
    /// Calls of gRPC, by route and by the name of the status that they ended with.
    pub grpc_calls: IntCounterVec,
    /// Answers made by the gateway itself, by problem and by the policy that refused.
    pub problems: IntCounterVec,
    /// Bytes of request bodies, by route.
    pub received: IntCounterVec,
    /// Bytes of answer bodies, by route.
    pub sent: IntCounterVec,
    /// Requests that were sent again, by service and by what had failed.
    pub retries: IntCounterVec,
    /// Requests that were answered in a service's stead.
    pub fallbacks: IntCounterVec,
    /// Requests that were not sent to a service, for the gateway had no credentials to show there, by service.
    pub credentials_missing: IntCounterVec,
    /// Requests for which a split chose a service, by route, service and status.
    pub splits: IntCounterVec,
    /// Copies of requests, by the service that they are for and what became of them: `answered`, `failed`, `left_alone`, `dropped`, `too_large`.
    pub mirrors: IntCounterVec,
    /// Parts of composed answers, by route, part and what became of them: `ok`, `http_response_status` for a status that is no success, `not_asked` and
    /// `cancelled` where the whole had ended, or a word of RFC 9209 §2.3 or of the gateway's own.
    pub parts: IntCounterVec,
    /// Time from the call of a part to its end, in seconds, by route and part.
    pub part_duration: HistogramVec,
    /// Calls for parts under way now, by route.
    pub parts_running: IntGaugeVec,
    /// Requests within batches, by route and what became of them: `answered`, `refused`, `late`, `too_large`, `cut`, `failed`, or `cancelled` where the client
    /// had left.
    pub batch_requests: IntCounterVec,
    /// Requests within batches that are under way now, by route.
    pub batch_running: IntGaugeVec,
    /// Bytes of bodies that went out in another form, by that and by when they are counted: `before` and `after`.
    pub encoded: IntCounterVec,
    /// Bodies that are being encoded now.
    pub encoders: IntGauge,
    /// Answers that went out as they were, for as many were being encoded as may be.
    pub encoders_full: IntCounter,
    /// Answers of parts that may be kept, by route, part and result: `hit` and `miss` for each that is looked for, `stored` for each that is kept.
    pub part_cache: IntCounterVec,
    /// Bytes of answers of parts that are kept: one number of all workers, so every shard has the same.
    pub part_cache_bytes: IntGauge,
    /// Answers of parts that had to go for others: one number of all workers too.
    pub part_cache_evicted: IntCounter,
    /// What policies ask others to find out who calls.
    pub auth: AuthMetrics,
    /// Whether a service's breaker is open, by service: one state of all workers, so every shard has the same.
    pub breakers: IntGaugeVec,
    /// Whether a target is ejected, or tried after that, by service and target: one state of all workers too.
    pub ejected: IntGaugeVec,
    /// Handshakes of TLS with clients, by result: `full`, `resumed`, `failed`, `late`, `plain` where the client spoke HTTP without TLS.
    pub handshakes: IntCounterVec,
    /// PROXY headers, by result: `taken`, `without_address`, `untrusted`, `malformed`, `late`.
    pub proxy_headers: IntCounterVec,
    /// WebSockets that are open, by service.
    pub websockets: IntGaugeVec,
    /// Messages of WebSockets, by service and by who has sent them.
    pub websocket_messages: IntCounterVec,
    /// Bytes of WebSockets, likewise.
    pub websocket_bytes: IntCounterVec,
    /// WebSockets that have ended, by service, who ended them and how: see the access log.
    pub websocket_closes: IntCounterVec,
    /// HTTP/2 connections that were ended for what they asked too much of, by what that was: `settings`, `ping`, `priority`, `window_update`, `empty_data`,
    /// `continuation`, `resets`, `header_list`, `slow_header`, `no_settings`, `other`.
    pub floods: IntCounterVec,
    /// HTTP/2 requests refused, for as many are open as may be.
    pub streams_refused: IntCounter,
    /// Connections that the gateway has ended, by the bound that they had come to: `idle`, `requests`, `farewell`, `discard`.
    pub connection_ends: IntCounterVec,
    /// Clients that were cut off since they sent or took too slowly, by direction: `upload`, `download`.
    pub slow_clients: IntCounterVec,
    /// Connections held now.
    pub connections: IntGauge,
    /// Requests of identified consumers.
    pub consumers: Consumers,
}

/// What the process counts, away from requests.
#[derive(Debug)]
pub struct ProcessMetrics {
    registry: Registry,
    /// Lines of the access log that found no room.
    pub log_dropped: IntCounter,
    /// Connections that were closed at once, by the bound that they were over: `files`, `connections`, `connections_per_client`.
    pub turned_away: IntCounterVec,
    /// Attempts to reload the config, by result: `done`, `unchanged`, `refused`.
    pub reloads: IntCounterVec,
    /// When the present config was taken, in seconds since 1970.
    pub config_since: IntGauge,
    /// The number of the present config since start.
    pub config_generation: IntGauge,
    /// When each certificate that is shown expires, in seconds since 1970, by listener and file.
    pub certificate_expiry: IntGaugeVec,
    /// Whether active checks find a target well, by service and target.
    pub healthy: IntGaugeVec,
    /// Active checks, by service, target and result: `passed`, `failed`.
    pub checks: IntCounterVec,
    /// Questions to name servers, by name and result: `answered`, `nxdomain`, `no_records`, `servfail`, `timeout`, `error`.
    pub dns_lookups: IntCounterVec,
    /// How many places a name stands for, by name.
    pub dns_addresses: IntGaugeVec,
    dns_answered: IntGaugeVec,
    /// What is known of keys that are fetched.
    pub jwks: JwksMetrics,
    /// What is known of tokens for services.
    pub tokens: TokenMetrics,
    /// Whether a service's breaker is open, by service.
    pub breakers: IntGaugeVec,
    ejected: IntGaugeVec,
    part_cache_bytes: IntGauge,
    part_cache_evicted: IntCounter,
    /// What is kept outside.
    pub store: StoreMetrics,
    consumers: Arc<Names>,
}

/// All shards.
#[derive(Debug)]
pub struct Metrics {
    shards: Vec<Arc<Shard>>,
    /// For what the control thread does as workers do.
    pub control: Arc<Shard>,
    /// What the process counts.
    pub process: ProcessMetrics,
}

impl Metrics {
    /// A shard for each worker.
    ///
    /// # Errors
    /// Only where a name is used twice, which the tests would find.
    pub fn new(workers: usize) -> Result<Self, Error> {
        let process = ProcessMetrics::new()?;
        let shards: Vec<_> = (0..workers).map(|worker| Shard::new(worker, &process).map(Arc::new)).collect::<Result<_, _>>()?;
        let control = shards.first().map_or_else(|| Shard::new(0, &process).map(Arc::new), |first| Ok(first.clone()))?;
        Ok(Self { shards, control, process })
    }

    /// One shard for each worker.
    pub fn shards(&self) -> &[Arc<Shard>] {
        &self.shards
    }

    /// Everything, in the Prometheus text format.
    ///
    /// # Errors
    /// Only where a family is broken, which the tests would find.
    pub fn render(&self) -> Result<String, Error> {
        let mut families = self.process.registry.gather();
        let mut sums: BTreeMap<String, (MetricFamily, Places)> = BTreeMap::new();
        for family in self.shards.iter().flat_map(|shard| shard.registry.gather()) {
            match sums.get_mut(family.name()) {
                Some((sum, places)) => add(sum, places, family),
                None => {
                    let places = family.get_metric().iter().enumerate().map(|(place, metric)| (labels(metric), place)).collect();
                    sums.insert(family.name().to_owned(), (family, places));
                }
            }
        }
        families.extend(sums.into_values().map(|(family, _)| family));
        TextEncoder::new().encode_to_string(&families)
    }
}

impl ProcessMetrics {
    /// A name server has answered just now.
    pub fn note_dns_answer(&self, name: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.dns_answered.with_label_values(&[name]).set(i64::try_from(now.as_secs()).unwrap_or_default());
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: Result<C, Error>) -> Result<C, Error> {
    let collector = collector?;
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

impl Shard {
    fn new(worker: usize, process: &ProcessMetrics) -> Result<Self, Error> {
        let registry = Registry::new();
        let held = Opts::new("tidegate_connections", "Client connections held now, by worker.").const_label("worker", worker.to_string());
        let counter = |name: &str, help: &str, labels: &[&str]| register(&registry, IntCounterVec::new(Opts::new(name, help), labels));
        let histogram = |name: &str, help: &str, labels: &[&str]| {
            let opts = HistogramOpts::new(name, help).buckets(LATENCY.to_vec());
            register(&registry, HistogramVec::new(opts, labels))
        };
        Ok(Self {
            requests: counter("tidegate_requests_total", "Requests answered.", &["route", "status"])?,
            duration: histogram("tidegate_request_duration_seconds", "From the request's header to the end of its answer.", &["route"])?,
            upstream_duration: histogram(
                "tidegate_upstream_duration_seconds",
                "From the choice of a target to the end of its answer.",
                &["service"],
            )?,
            grpc_calls: counter("tidegate_grpc_calls_total", "Calls of gRPC, by how they ended for their callers.", &["route", "code"])?,
            problems: counter("tidegate_problems_total", "Answers made by the gateway itself.", &["kind", "policy"])?,
            received: counter("tidegate_received_bytes_total", "Bytes of request bodies.", &["route"])?,
            sent: counter("tidegate_sent_bytes_total", "Bytes of answer bodies.", &["route"])?,
            retries: counter("tidegate_retries_total", "Requests that were sent again.", &["service", "reason"])?,
            fallbacks: counter("tidegate_fallbacks_total", "Requests that were answered in the service's stead.", &["service", "reason"])?,
            credentials_missing: counter(
                "tidegate_credentials_missing_total",
                "Requests that were not sent, for lack of the gateway's credentials.",
                &["service"],
            )?,
            splits: counter(
                "tidegate_split_requests_total",
                "Requests for which a split chose a service.",
                &["route", "service", "status"],
            )?,
            mirrors: counter("tidegate_mirror_total", "Copies of requests for another service.", &["service", "result"])?,
            parts: counter("tidegate_parts_total", "Parts of composed answers.", &["route", "part", "result"])?,
            part_duration: histogram("tidegate_part_duration_seconds", "From the call of a part to its end.", &["route", "part"])?,
            parts_running: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new("tidegate_parts_running", "Calls for parts of composed answers that are under way."),
                    &["route"],
                ),
            )?,
            batch_requests: counter("tidegate_batch_requests_total", "Requests within batches.", &["route", "result"])?,
            batch_running: register(
                &registry,
                IntGaugeVec::new(Opts::new("tidegate_batch_requests_running", "Requests within batches that are under way."), &["route"]),
            )?,
            encoded: counter("tidegate_encoded_bytes_total", "Bytes of bodies that went out shorter.", &["coding", "when"])?,
            encoders: register(&registry, IntGauge::new("tidegate_encoders", "Bodies that are being encoded."))?,
            encoders_full: register(
                &registry,
                IntCounter::new("tidegate_encoders_full_total", "Answers that were not encoded, for too many others were."),
            )?,
            part_cache: counter("tidegate_part_cache_total", "Answers of parts that may be kept.", &["route", "part", "result"])?,
            auth: AuthMetrics::new(&registry)?,
            part_cache_bytes: process.part_cache_bytes.clone(),
            part_cache_evicted: process.part_cache_evicted.clone(),
            handshakes: counter("tidegate_handshakes_total", "Handshakes of TLS with clients.", &["result"])?,
            proxy_headers: counter("tidegate_proxy_headers_total", "PROXY headers of clients' connections.", &["result"])?,
            websockets: register(&registry, IntGaugeVec::new(Opts::new("tidegate_websockets", "WebSockets that are open."), &["service"]))?,
            websocket_messages: counter("tidegate_websocket_messages_total", "Messages of WebSockets.", &["service", "from"])?,
            websocket_bytes: counter("tidegate_websocket_bytes_total", "Bytes of WebSockets.", &["service", "from"])?,
            websocket_closes: counter("tidegate_websocket_closes_total", "WebSockets that have ended.", &["service", "by", "how"])?,
            floods: counter("tidegate_http2_floods_total", "HTTP/2 connections ended for what they asked too much of.", &["kind"])?,
            streams_refused: register(
                &registry,
                IntCounter::new("tidegate_http2_streams_refused_total", "HTTP/2 requests refused, for too many were open."),
            )?,
            connection_ends: counter("tidegate_connections_ended_total", "Connections ended at a bound of theirs.", &["bound"])?,
            slow_clients: counter(
                "tidegate_slow_clients_total",
                "Clients that sent or took too slowly, and were cut off.",
                &["direction"],
            )?,
            breakers: process.breakers.clone(),
            ejected: process.ejected.clone(),
            connections: register(&registry, IntGauge::with_opts(held))?,
            consumers: Consumers::new(&registry, &process.consumers)?,
            registry,
        })
    }
}

impl ProcessMetrics {
    fn new() -> Result<Self, Error> {
        let registry = Registry::new();
        let info = register(&registry, IntGaugeVec::new(Opts::new("tidegate_info", "The running version."), &["version"]))?;
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Self {
            log_dropped: register(
                &registry,
                IntCounter::new("tidegate_access_log_dropped_total", "Lines of the access log that found no room."),
            )?,
            turned_away: register(
                &registry,
                IntCounterVec::new(
                    Opts::new("tidegate_connections_turned_away_total", "Connections that were closed at once."),
                    &["bound"],
                ),
            )?,
            reloads: register(
                &registry,
                IntCounterVec::new(Opts::new("tidegate_reloads_total", "Attempts to reload the config."), &["result"]),
            )?,
            config_since: register(
                &registry,
                IntGauge::new("tidegate_config_since_seconds", "When the present config was taken, in seconds since 1970."),
            )?,
            config_generation: register(
                &registry,
                IntGauge::new("tidegate_config_generation", "The number of the present config since start."),
            )?,
            certificate_expiry: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new("tidegate_certificate_expiry_seconds", "When a certificate expires, in seconds since 1970."),
                    &["listener", "certificate"],
                ),
            )?,
            dns_lookups: register(
                &registry,
                IntCounterVec::new(Opts::new("tidegate_dns_lookups_total", "Questions to name servers."), &["name", "result"]),
            )?,
            dns_addresses: register(
                &registry,
                IntGaugeVec::new(Opts::new("tidegate_dns_addresses", "Places that the name of a target stands for."), &["name"]),
            )?,
            dns_answered: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new(
                        "tidegate_dns_answered_seconds",
                        "When a name server last said what a name stands for, in seconds since 1970.",
                    ),
                    &["name"],
                ),
            )?,
            jwks: JwksMetrics::new(&registry)?,
            tokens: TokenMetrics::new(&registry)?,
            breakers: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new("tidegate_breaker_open", "1 while a service is left alone for its failures, or tried."),
                    &["service"],
                ),
            )?,
            healthy: register(
                &registry,
                IntGaugeVec::new(Opts::new("tidegate_target_healthy", "1 while active checks find a target well."), &["service", "target"]),
            )?,
            checks: register(
                &registry,
                IntCounterVec::new(
                    Opts::new("tidegate_target_checks_total", "Active checks of targets."),
                    &["service", "target", "result"],
                ),
            )?,
            ejected: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new("tidegate_target_ejected", "1 while a target is ejected for its failures, or tried."),
                    &["service", "target"],
                ),
            )?,
            part_cache_bytes: register(&registry, IntGauge::new("tidegate_part_cache_bytes", "Bytes of answers of parts that are kept."))?,
            part_cache_evicted: register(
                &registry,
                IntCounter::new("tidegate_part_cache_evicted_total", "Answers of parts that had to go for others."),
            )?,
            store: StoreMetrics::new(&registry)?,
            consumers: Arc::default(),
            registry,
        })
    }
}
