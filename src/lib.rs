//! Tidegate is an API gateway. This list is the map: a room uses only the rooms above it.

// words
/// What can go wrong while building, and how it is gathered.
pub mod building;
/// Leaf values, parsed once: durations, sizes, secrets, replies.
pub mod types;
/// Why the gateway itself says no.
pub mod problem;
/// Who a caller can be.
pub mod consumer;
/// What is known about one request.
pub mod ctx;

// formats
/// What bodies are made of: read within bounds, changed where asked, passed on byte by byte.
pub mod body;
/// Small languages inside config values: templates and conditions. And query strings.
pub mod expr;

// cellar
/// What happened: the access log and the metrics.
pub mod observe;
/// What outlives a snapshot, by key.
pub mod state;

// tools
/// Who we are and whom we believe, over TLS: certificates, keys, authorities.
pub mod tls;
/// What the gateway signs in its own name, and what it publishes for that.
pub mod signing;
/// Where requests go: services, their targets, and the choice between them.
pub mod upstream;
/// What is kept outside, in Redis or Valkey: consumers, their keys, and tokens that were taken back.
pub mod store;
/// What answers by itself instead of forwarding.
pub mod handler;

// work
/// One thing the gateway does to a request on its way.
pub mod policy;
/// One request, many services, one answer.
pub mod compose;

// assembly
/// Which route a request takes, and in which version.
pub mod routing;
/// From a file to plain data: YAML with places, `${ENV}` and `${file:…}`, every mistake told at once.
pub mod config;
/// Everything compiled from one config, immutable and swapped whole.
pub mod snapshot;
/// The only writer of the live snapshot.
pub mod reload;

// doors
/// The way of one request through the policies, to a service and back.
pub mod proxy;
/// Sockets, workers, and the life of the process.
pub mod server;
/// What operators ask for.
pub mod admin;
/// The commands.
pub mod cli;
