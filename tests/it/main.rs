//! One binary for all integration tests: linking is what costs.

mod gateway_api;
mod routing_order;
