//! Tidegate is an API gateway. This list is the map: a room uses only the rooms above it.

// words
/// What can go wrong while building, and how it is gathered.
pub mod building;
/// Who a caller can be.
pub mod consumer;
/// What is known about one request.
pub mod ctx;
/// Why the gateway itself says no.
pub mod problem;
/// Which route a request takes.
pub mod routing;
/// Leaf values, parsed once: durations, sizes, secrets, replies.
pub mod types;

// formats
/// Small languages inside config values: templates.
pub mod expr;

// cellar
/// What outlives a snapshot, by key.
pub mod state;

// work
/// One thing the gateway does to a request on its way.
pub mod policy;
// assembly
/// From a file to plain data: YAML with places, `${ENV}` and `${file:…}`, every mistake told at once.
pub mod config;
