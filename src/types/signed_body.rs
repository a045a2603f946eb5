use std::fmt;

use ring::digest::{Context, SHA256, SHA512};

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

/// All that was signed of a body, and the digests of as much of that as has come: each is made once, while the body arrives.
#[derive(Clone, Default)]
pub struct Digests {
    signed: Vec<SignedBody>,
    sha256: Option<Context>,
    sha512: Option<Context>,
    length: usize,
}

impl Digests {
    /// Takes one more to hold the body to, before anything of it has come.
    pub fn expect(&mut self, signed: SignedBody) {
        match signed {
            SignedBody::Empty => {}
            SignedBody::Sha256(_) => {
                self.sha256.get_or_insert_with(|| Context::new(&SHA256));
            }
            SignedBody::Sha512(_) => {
                self.sha512.get_or_insert_with(|| Context::new(&SHA512));
            }
        }
        self.signed.push(signed);
    }

    /// Takes the next piece of the body.
    pub fn update(&mut self, piece: &[u8]) {
        self.length += piece.len();
        for context in [&mut self.sha256, &mut self.sha512].into_iter().flatten() {
            context.update(piece);
        }
    }

    /// The first that this body, of which all pieces were taken, is not.
    pub fn wrong(&self, body: &[u8]) -> Option<&SignedBody> {
        let is = |context: &Option<Context>, value: &[u8]| context.clone().is_some_and(|context| context.finish().as_ref() == value);
        self.signed.iter().find(|signed| match signed {
            SignedBody::Empty => !body.is_empty(),
            // What has not come here has no digest that could be right.
            _ if body.len() != self.length => true,
            SignedBody::Sha256(value) => !is(&self.sha256, value),
            SignedBody::Sha512(value) => !is(&self.sha512, value),
        })
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

impl fmt::Debug for Digests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Digests").field(&self.signed).finish()
    }
}

#[cfg(test)]
mod tests {
    use ring::digest::digest;

    use super::*;

    fn digests(signed: &[SignedBody], pieces: &[&[u8]]) -> Digests {
        let mut digests = Digests::default();
        signed.iter().for_each(|signed| digests.expect(signed.clone()));
        pieces.iter().for_each(|piece| digests.update(piece));
        digests
    }

    #[test]
    fn a_body_in_pieces_is_held_to_all_that_was_signed_of_it() {
        let sha256 = |body: &[u8]| SignedBody::Sha256(digest(&SHA256, body).as_ref().into());
        let sha512 = |body: &[u8]| SignedBody::Sha512(digest(&SHA512, body).as_ref().into());
        let all = [sha256(b"hello"), sha512(b"hello"), sha256(b"hello")];
        assert_eq!(digests(&all, &[b"he", b"", b"llo"]).wrong(b"hello"), None);
        assert_eq!(digests(&all, &[b"he", b"lla"]).wrong(b"hella"), Some(&all[0]));
        let differing = [sha256(b"hello"), sha512(b"hallo")];
        assert_eq!(digests(&differing, &[b"hello"]).wrong(b"hello"), Some(&differing[1]));
        assert_eq!(digests(&[SignedBody::Empty], &[]).wrong(b""), None);
        assert_eq!(digests(&[SignedBody::Empty], &[b"x"]).wrong(b"x"), Some(&SignedBody::Empty));
        assert_eq!(digests(&[sha256(b"")], &[]).wrong(b"x"), Some(&sha256(b"")), "nothing of it came here");
    }
}
