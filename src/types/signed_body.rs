use std::fmt;

use ring::digest::{self, SHA256, SHA512};

/// What a caller has signed of a request's body.
#[derive(Clone, PartialEq, Eq)]
pub enum SignedBody {
    /// That there is none.
    Empty,
    /// Its SHA-256.
    Sha256(Box<[u8]>),
    /// Its SHA-512.
    Sha512(Box<[u8]>),
}

impl SignedBody {
    /// Whether it is this body.
    pub fn is(&self, body: &[u8]) -> bool {
        match self {
            SignedBody::Empty => body.is_empty(),
            SignedBody::Sha256(value) => digest::digest(&SHA256, body).as_ref() == &**value,
            SignedBody::Sha512(value) => digest::digest(&SHA512, body).as_ref() == &**value,
        }
    }
}

impl fmt::Debug for SignedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SignedBody::Empty => "Empty",
            SignedBody::Sha256(_) => "Sha256",
            SignedBody::Sha512(_) => "Sha512",
        })
    }
}
