//! Paths: one form for every spelling of the same path, and the patterns that routes match it with.

mod normalise;
mod pattern;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(super) use normalise::normal;
pub use normalise::{PathError, normalise};
pub(super) use pattern::{Pattern, Segment};

/// How request paths are brought to one form before anything looks at them. What was matched is what is forwarded.
///
/// Always done (RFC 3986 §6.2.2): escapes of letters, digits, `-`, `.`, `_` and `~` are decoded, the hex digits of the others are
/// upper case, and `.` and `..` segments are resolved, never above the root. What no URI may hold is escaped (`{` → `%7B`). A
/// path with a broken escape, a control character, a raw space, or dots that only some servers would resolve
/// (`/..;/`, `/..%2F`) is answered with 400. A slash at the end counts: `/users/` is not `/users`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PathOptions {
    /// Whether several slashes in a row are one. Default: true.
    pub merge_slashes: bool,
    /// What becomes of `%2F`. Default: `keep`.
    pub encoded_slashes: EncodedSlashes,
    /// What becomes of `\` and `%5C`, which some servers take for a slash. Default: `refuse`.
    pub backslashes: Backslashes,
}

impl Default for PathOptions {
    fn default() -> Self {
        Self { merge_slashes: true, encoded_slashes: EncodedSlashes::Keep, backslashes: Backslashes::Refuse }
    }
}

/// What becomes of `%2F` in a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EncodedSlashes {
    /// It is part of its segment and is forwarded as `%2F`.
    #[default]
    Keep,
    /// The request is answered with 400.
    Refuse,
    /// It is a slash like any other, for matching and for the upstream.
    Decode,
}

/// What becomes of `\` and `%5C` in a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backslashes {
    /// The request is answered with 400.
    #[default]
    Refuse,
    /// It is part of its segment and is forwarded as `%5C`.
    Keep,
}
