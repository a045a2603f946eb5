//! Who are you.

mod answers;
pub mod anonymous;
pub mod any_of;
pub mod api_key;
pub mod basic;
mod caller;
mod challenge;
pub mod external;
pub mod introspection;
pub mod hmac;
pub mod jwks;
pub mod jwt;
pub mod mtls;
mod providers;
mod revoked;
mod source;
mod trouble;

pub use providers::Providers;

use pingora_http::RequestHeader;

use super::Policy;
use crate::ctx::Ctx;
use crate::problem::Problem;

/// A policy that finds out who calls, as `any_of` tries several.
trait Authenticates: Policy {
    /// Whether a request carries what this one goes by, good or bad.
    fn sees(&self, req: &RequestHeader, cx: &Ctx) -> bool;

    /// What it answers to one that carries nothing.
    fn missing(&self) -> Option<Problem>;

    /// Takes out what clients must not say themselves, whoever is tried in the end.
    fn cleanse(&self, _req: &mut RequestHeader) {}
}
