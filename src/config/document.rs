use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::cache::CacheConfig;
use super::server::{AdminConfig, ServerConfig};
use crate::consumer::ConsumerConfig;
use crate::observe::AccessLogConfig;
use crate::policy::transform::IdentityConfig;
use crate::policy::{Entry, PolicyConfig};
use crate::routing::{PathOptions, RouteConfig};
use crate::signing::SigningConfig;
use crate::store::RedisConfig;
use crate::upstream::{DnsConfig, ServiceConfig};

/// The whole file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Other files, or globs like `teams/*.yaml`, from the folder of this file: each with `consumers`, `services`, `routes` and an `include` of its own.
    /// The same name in two files is an error, and so is a glob that matches nothing. Files that settings name are found from the folder of the main file.
    pub include: Vec<String>,
    /// Sockets, threads, bounds: what is bound at start.
    pub server: ServerConfig,
    /// Metrics and health.
    pub admin: AdminConfig,
    /// What is written down of each request.
    pub access_log: AccessLogConfig,
    /// How the names of targets become addresses.
    pub dns: DnsConfig,
    /// What is kept of the answers of services.
    pub cache: CacheConfig,
    /// How paths are made comparable before they are matched.
    pub paths: PathOptions,
    /// Who may call.
    pub consumers: Vec<ConsumerConfig>,
    /// Where more is kept of consumers, which may change without a reload.
    pub redis: Option<RedisConfig>,
    /// What services are told of who calls.
    pub identity: IdentityConfig,
    /// What the gateway signs tokens with. Default: it signs none.
    pub signing: Option<SigningConfig>,
    /// Where requests can go, by name.
    pub services: IndexMap<String, ServiceConfig<Vec<Entry>>>,
    /// Policies for every route.
    pub policies: Vec<Entry>,
    /// Which request goes where.
    pub routes: Vec<RouteConfig>,
}

impl Config {
    /// Whether consumers and keys are kept elsewhere too, of which nobody has a list.
    pub fn stores_consumers(&self) -> bool {
        self.redis.as_ref().is_some_and(|redis| redis.consumers.is_some())
    }

    /// The files that settings of TLS, of credentials and of policies name, found from the folder of the main file: what is in them may change while the config stays.
    pub fn files(&self, folder: &Path) -> Vec<PathBuf> {
        let own = self.server.listeners.iter().filter_map(|listener| listener.tls.as_ref()).flat_map(|tls| tls.files());
        let of_services = self.services.values().filter_map(|service| service.tls.as_ref()).flat_map(|tls| tls.files());
        let of_credentials = self.services.values().filter_map(|service| service.credentials.as_ref()).flat_map(|own| own.files());
        let of_credentials = of_credentials.chain(self.signing.iter().flat_map(|signing| signing.files()));
        let lists = self.services.values().map(|service| &service.policies).chain(self.routes.iter().map(|route| &route.policies));
        let policies = lists.chain([&self.policies]).flatten().filter_map(|entry| entry.config.as_ref());
        let of_policies = policies.flat_map(PolicyConfig::files);
        let of_redis = self.redis.iter().filter_map(|redis| redis.ca.as_deref());
        let mut files: Vec<_> =
            own.chain(of_services).chain(of_credentials).chain(of_policies).chain(of_redis).map(|name| folder.join(name)).collect();
        files.sort();
        files.dedup();
        files
    }
}
