//! JSON that is looked into and put together without being taken apart.
//!
//! A text is read once ([`Document::parse`]) into a list of places: where each value begins and ends. Nothing is decoded, and what is written again is
//! copied from the text as it came, so numbers beyond 64 bits, the order of members, members of the same name and escapes survive byte by byte. All of
//! RFC 8259 is checked, within [`Bounds`], so what is put together of such texts is JSON again.
//!
//! Why not a crate: `serde_json` keeps raw values of one level only, and reads a level anew for each step down; its trees lose numbers and names.
//! `simd-json` decodes strings in place, so the text is no longer the one that came. `sonic-rs` reads a tree of 100 KB in two thirds of the time that
//! places take here, but the tree has lost what the text was, and writing it again takes what was won twice over; its lazy values read the text anew for
//! each look-up and take the first of two members of the same name. None of them bounds the number of values.

// Each uses only those above it.
mod fault;
mod path;
mod scan;
mod parse;
mod text;
mod document;
mod value;
mod out;
mod shape;
mod place;
mod template;
mod assemble;

pub use assemble::{Assembly, AssemblyConfig, Merge, Unfit, Why};
pub use document::{Document, check};
pub use fault::{Bounds, Fault, Wrong};
pub use out::{Out, TooLong};
pub use path::Path;
pub use place::Place;
pub use shape::{Shape, ShapeConfig, Shaped};
pub use template::{Filling, Missing, Template};
pub use text::Text;
pub use value::{Items, Kind, Members, Value};

#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) use properties::Dice;
#[cfg(test)]
mod suite;
