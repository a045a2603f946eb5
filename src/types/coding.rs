use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;

/// A form in which content is shorter (RFC 9110 §8.4.1): `zstd`, `br` or `gzip`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Coding {
    /// Zstandard (RFC 8878).
    Zstd,
    /// Brotli (RFC 7932).
    Br,
    /// gzip (RFC 1952).
    Gzip,
}

/// In what form a body goes out.
#[derive(Debug)]
pub enum Recoding {
    /// In this one.
    To {
        /// The form.
        coding: Coding,
        /// Bytes of the body as it came, where that was said.
        length: Option<u64>,
        /// Its place among those that are encoded at once, until it is dropped.
        place: OwnedSemaphorePermit,
    },
    /// As it came: all places were taken.
    Crowded,
}

impl Coding {
    /// Its name in headers.
    pub const fn name(self) -> &'static str {
        match self {
            Coding::Zstd => "zstd",
            Coding::Br => "br",
            Coding::Gzip => "gzip",
        }
    }

    /// Whether a header means it.
    pub fn is_named(self, name: &str) -> bool {
        name.eq_ignore_ascii_case(self.name()) || self == Coding::Gzip && name.eq_ignore_ascii_case("x-gzip")
    }
}

impl JsonSchema for Coding {
    fn schema_name() -> Cow<'static, str> {
        "Coding".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "enum": ["zstd", "br", "gzip"], "description": "A form in which content is shorter (RFC 9110 §8.4.1)."})
    }
}
