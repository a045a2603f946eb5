//! One binary for all integration tests: linking is what costs.

#[allow(dead_code, reason = "not every suite is here yet")]
mod support;

mod gateway_api;
mod routing_order;
mod demo;
mod keepalive;
mod bounds;
mod http1_consensus;
