use schemars::JsonSchema;
use serde::Deserialize;

use crate::building::{BuildError, Errors};
use crate::types::Size;

/// `cache:` — what is kept of the answers of services, for all that keep some: see `cache` of a part of `compose`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// Bytes of memory at most. What is asked for least goes first. Another size forgets all that is kept. Default: 64MiB.
    pub size: Size,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { size: Size::kib(64 * 1024) }
    }
}

impl CacheConfig {
    /// What can be read and cannot work, at paths below `cache`.
    pub fn mistakes(&self) -> Errors {
        let mut errors = Errors::default();
        if self.size.0 == 0 {
            let error = BuildError::new("nothing could be kept", "write a size like `64MiB`, or take `cache` out of the parts");
            errors.push(error.at("size").at("cache"));
        }
        errors
    }
}
