//! One binary for all integration tests: linking is what costs.
// clippy.toml lets tests panic, but knows only functions marked `#[test]` for tests; here the helpers are too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "not every suite is here yet")]
mod support;

mod gateway_api;
mod routing_order;
mod demo;
mod keepalive;
mod bounds;
mod http1_consensus;
mod house;
mod examples;
mod readme;
mod nginx;
