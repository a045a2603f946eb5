//! The files under test, taken from the gateway one by one: they need little of it, and so the instrumented build takes seconds.
#![allow(dead_code, missing_docs)]

#[path = "../../src/building.rs"]
pub mod building;

#[path = "../../src/types/pieces.rs"]
mod pieces;

pub mod types {
    pub use crate::pieces::{Piece, pieces};
}

#[path = "../../src/body/mod.rs"]
pub mod body;

use body::json::{Document, Out, Shape};

/// A document in its shape, if anything is left.
pub fn shaped(shape: &Shape, document: &Document) -> Option<Vec<u8>> {
    let mut out = Out::new(usize::MAX, 0);
    shape.of(document.root())?.write(&mut out);
    out.finish().ok()
}
