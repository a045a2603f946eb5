//! Asks several services at once and puts their answers together into one.
//!
//! ```yaml
//! routes:
//!   - name: user-profile
//!     match: { path: "/api/user-profile/{id}", methods: [GET] }
//!     compose:
//!       timeout: 2s
//!       parts:
//!         user:   { get: "users:/users/{id}", required: true }
//!         team:   { get: "teams:/teams/{parts.user.body.team_id}" }
//!         orders: { get: "orders:/users/{id}/orders", timeout: 800ms }
//! ```

// Each uses only those above it.
mod cookies;
mod config;
mod etag;
mod freshness;
mod outcome;
mod text;
mod target;
mod fill;
mod each;
mod ask;
mod part;
mod order;
mod same;
mod keep;
mod fetch;
mod plan;
mod steps;
mod doubts;
mod answer;
mod course;
mod run;
mod fan;
mod batch;

pub use batch::{Batch, BatchConfig};
pub use config::{ComposeConfig, PartConfig};
pub use cookies::SetCookieConfig;
pub use doubts::Around;
pub use plan::Composition;
pub use steps::Step;

#[cfg(test)]
mod properties;
