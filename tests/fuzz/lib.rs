//! The files under test, taken from the gateway one by one: they need little of it, and so the instrumented build takes seconds. What stands in for the
//! rest of it has no more than they use.
#![allow(dead_code, missing_docs)]

#[path = "../../src/building.rs"]
pub mod building;

#[path = "../../src/types/pieces.rs"]
mod pieces;

pub mod types {
    pub use crate::pieces::{Piece, pieces};

    /// In what form an answer goes out.
    #[derive(Debug)]
    pub struct Recoding;

    /// A limit of somebody's own.
    #[derive(Clone, Debug)]
    pub struct Rate;

    /// What a caller has signed of a body.
    #[derive(Debug)]
    pub struct Digests;

    /// What a client has shown over TLS.
    #[derive(Debug)]
    pub struct Certificate {
        pub subject: Box<str>,
        pub common_name: Option<Box<str>>,
        pub names: Box<[Box<str>]>,
        pub fingerprint: Box<str>,
    }
}

#[path = "."]
pub mod body {
    #[path = "../../src/body/json/mod.rs"]
    pub mod json;
}

pub mod consumer {
    use std::collections::BTreeMap;

    /// Who calls.
    #[derive(Debug)]
    pub struct Consumer {
        pub name: Box<str>,
        pub groups: Vec<String>,
        pub labels: BTreeMap<String, String>,
    }
}

#[path = "../../src/ctx.rs"]
pub mod ctx;

pub mod expr;

#[path = "../../src/routing/host.rs"]
pub mod host;

pub mod paths;

pub mod upstream {
    /// Whom a part asks.
    #[derive(Debug)]
    pub struct Service;
}

pub mod compose;

use body::json::{Document, Out, Shape};

/// A document in its shape, if anything is left.
pub fn shaped(shape: &Shape, document: &Document) -> Option<Vec<u8>> {
    let mut out = Out::new(usize::MAX, 0);
    shape.of(document.root())?.write(&mut out);
    out.finish().ok()
}
