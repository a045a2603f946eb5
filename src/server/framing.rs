//! Where one request ends and the next begins on an HTTP/1.1 connection (RFC 9112 §6, §7.1): followed here, so that no byte of the next request is
//! ever handed out as part of the present one, and so that what is malformed is refused before a byte of it is forwarded.

/// How the bytes after a header are framed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`: so many bytes are still to come. Zero: no body, or its end.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked(Chunks),
    /// No framing that we follow: an HTTP/2 connection.
    Free,
}

/// The state of a chunked body, byte by byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunks {
    state: State,
    /// Bytes of the present chunk still to come, or its size as far as it was read.
    size: u64,
    /// Bytes of the present line: digits, extensions.
    line: usize,
    /// Bytes of all trailers.
    trailers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    SizeStart,
    Size,
    SizeSpace,
    Extension,
    Quoted,
    QuotedEscape,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    Done,
}

/// The body is not framed as RFC 9112 §7.1 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Bytes that one line of extensions, or all trailers, may have.
const LINE: usize = 8 * 1024;

impl Default for Chunks {
    fn default() -> Self {
        Self { state: State::SizeStart, size: 0, line: 0, trailers: 0 }
    }
}

impl Chunks {
    /// Whether the body has ended.
    pub fn done(&self) -> bool {
        self.state == State::Done
    }

    /// Follows the next bytes; says how many of them belong to the body.
    ///
    /// # Errors
    /// Bytes that no sender may write there: nothing after them can be trusted.
    pub fn follow(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.state == State::Done {
                break;
            }
            if self.state == State::Data {
                let here = usize::try_from(self.size).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.size -= here as u64;
                at += here;
                if self.size == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.state = self.step(byte)?;
            at += 1;
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<State, Malformed> {
        Ok(match (self.state, byte) {
            (State::SizeStart | State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                self.size = self.size.checked_mul(16).and_then(|size| size.checked_add(digit.into())).ok_or(Malformed)?;
                // More digits than a number has are zeros, and nobody's honest size.
                self.line += 1;
                if self.line > 16 { return Err(Malformed) } else { State::Size }
            }
            (State::Size | State::SizeSpace, b' ' | b'\t') => self.count(State::SizeSpace)?,
            (State::Size | State::SizeSpace, b';') => State::Extension,
            (State::Size | State::SizeSpace | State::Extension, b'\r') => State::SizeLf,
            (State::Extension, b'"') => self.count(State::Quoted)?,
            (State::Extension, byte) if text(byte) => self.count(State::Extension)?,
            (State::Quoted, b'"') => State::Extension,
            (State::Quoted, b'\\') => State::QuotedEscape,
            (State::Quoted | State::QuotedEscape, byte) if text(byte) => self.count(State::Quoted)?,
            (State::SizeLf, b'\n') if self.size == 0 => State::TrailerStart,
            (State::SizeLf, b'\n') => {
                self.line = 0;
                State::Data
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::SizeStart,
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::TrailerStart, byte) if text(byte) && !matches!(byte, b' ' | b'\t' | b':') => self.trailer()?,
            (State::Trailer, byte) if text(byte) => self.trailer()?,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::EndLf, b'\n') => State::Done,
            _ => return Err(Malformed),
        })
    }

    fn count(&mut self, next: State) -> Result<State, Malformed> {
        self.line += 1;
        if self.line > LINE { Err(Malformed) } else { Ok(next) }
    }

    fn trailer(&mut self) -> Result<State, Malformed> {
        self.trailers += 1;
        if self.trailers > LINE { Err(Malformed) } else { Ok(State::Trailer) }
    }
}

/// A byte that a field value may hold (RFC 9110 §5.5).
fn text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Result<(usize, bool), Malformed> {
        let mut chunks = Chunks::default();
        chunks.follow(bytes).map(|taken| (taken, chunks.done()))
    }

    #[test]
    fn a_body_ends_where_its_last_chunk_ends_and_not_a_byte_later() {
        let body = b"5;a=\"x;y\"\r\nhello\r\n0A \r\n0123456789\r\n000\r\nVary: *\r\n\r\n";
        let mut with_next = body.to_vec();
        with_next.extend(b"GET / HTTP/1.1\r\n");
        assert_eq!(whole(&with_next), Ok((body.len(), true)));
    }

    #[test]
    fn it_makes_no_difference_how_the_body_is_cut() {
        let body = b"5\r\nhello\r\n0\r\n\r\n";
        let mut chunks = Chunks::default();
        for byte in body {
            assert!(!chunks.done());
            assert_eq!(chunks.follow(&[*byte]), Ok(1));
        }
        assert!(chunks.done());
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_malformed() {
        for body in [
            &b"-5\r\nhello\r\n"[..],
            b"\r\nhello\r\n",
            b"5\nhello\r\n",
            b"5\r\nhello0\r\n",
            b"5\r\nhello\n0\r\n",
            b"0x5\r\nhello\r\n",
            b"5;\nx\r\nhello\r\n",
            b"10000000000000000\r\n",
            b"0\r\n X: y\r\n\r\n",
            b"0\r\nX: y\n\r\n",
            b"3\r\nfoo\r\n\r\n",
            b"2 x\r\nab\r\n",
            b"2 5\r\nab\r\n",
            b"00000000000000002\r\nab\r\n",
        ] {
            assert_eq!(whole(body), Err(Malformed), "{}", String::from_utf8_lossy(body));
        }
    }
}
