//! Paths: one form for every spelling of the same path, and the patterns that routes match it with.

mod normalise;
mod pattern;
mod template;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(super) use normalise::normal;
pub use normalise::{PathError, normalise};
pub(super) use pattern::{Pattern, Segment};
pub use template::PathTemplate;

/// How request paths are brought to one form before anything looks at them. What was matched is what is forwarded.
///
/// Always done (RFC 3986 §6.2.2): escapes of letters, digits, `-`, `.`, `_` and `~` are decoded, the hex digits of the others are
/// upper case, and `.` and `..` segments are resolved, never above the root. What no URI may hold is escaped (`{` → `%7B`). A
/// path with a broken escape, a control character, a raw space, or dots that only some servers would resolve
/// (`/..;/`, `/..%2F`) is answered with 400. A slash at the end counts: `/users/` is not `/users`.
///
/// Not folded, for they may mean something: letter case, `;` with what follows it, and a `%2F` that is kept. Where a service reads `/Key`, `/key;a` or
/// `/key%2Fx` as `/key` or `/key/x`, a policy on `/key/{rest...}` alone does not guard it: set `semicolons: refuse` and `encoded_slashes: refuse`, and give
/// the policy to the service or to every route of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PathOptions {
    /// Whether several slashes in a row are one. Default: true.
    pub merge_slashes: bool,
    /// What becomes of `%2F`. Default: `keep`.
    pub encoded_slashes: EncodedSlashes,
    /// What becomes of `\` and `%5C`, which some servers take for a slash. Default: `refuse`.
    pub backslashes: Backslashes,
    /// What becomes of `;` and `%3B`, from which on some servers drop the rest of a segment. Default: `keep`.
    pub semicolons: Semicolons,
}

impl Default for PathOptions {
    fn default() -> Self {
        Self { merge_slashes: true, encoded_slashes: EncodedSlashes::Keep, backslashes: Backslashes::Refuse, semicolons: Semicolons::Keep }
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

/// What becomes of `;` and `%3B` in a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Semicolons {
    /// It is part of its segment, as any other character is: for services that read matrix parameters (`/map;lat=50`).
    #[default]
    Keep,
    /// The request is answered with 400: for services that drop them unread, as servlet containers do.
    Refuse,
}
