//! One binary for all integration tests: linking is what costs.
// clippy.toml lets tests panic, but knows only functions marked `#[test]` for tests; here the helpers are too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod attempts;
mod balance;
mod bounds;
mod breaker;
mod client_certificates;
mod config_errors;
mod cors;
mod demo;
mod dns;
mod ejection;
mod examples;
mod explain;
mod fallback;
mod farewell;
mod forwarding;
mod gateway_api;
mod health;
mod house;
mod http1_consensus;
mod http2;
mod includes;
mod keepalive;
mod lifecycle;
mod limits;
mod listeners;
mod mirror;
mod misbehaviour;
mod nginx;
mod paths;
mod patience;
mod readme;
mod routing_order;
mod schema;
mod slow_start;
mod split;
mod status;
mod streaming;
mod survival;
mod support;
mod tls;
mod transport;
mod upstream_http2;
mod upstream_tls;
mod versions;
