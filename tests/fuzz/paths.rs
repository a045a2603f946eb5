//! How the paths of requests come to be.

#[path = "../../src/routing/path/normalise.rs"]
mod normalise;

pub use normalise::normalise;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathOptions {
    pub merge_slashes: bool,
    pub encoded_slashes: EncodedSlashes,
    pub backslashes: Backslashes,
    pub semicolons: Semicolons,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodedSlashes {
    Keep,
    Refuse,
    Decode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backslashes {
    Refuse,
    Keep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Semicolons {
    Keep,
    Refuse,
}
