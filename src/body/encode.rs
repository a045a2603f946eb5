//! Makes content shorter, piece by piece, in little memory: while an answer of known length is under way 0.5 MiB (gzip), 1.1 MiB (Zstandard) or 2.7 MiB
//! (Brotli), and while a stream is 0.3, 0.3 or 0.9 MiB.

use std::io::{self, Write};

use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::write::ZlibEncoder;
use flate2::{Compress, Compression};
use zstd::stream::write::Encoder as ZstdEncoder;

use crate::types::Coding;

/// Levels at which a core takes in about 100 MB a second or more (Brotli 90, gzip 220, Zstandard 430, of a JSON of 1 MiB): higher ones win a few percent
/// and take several times as long.
const GZIP: u32 = 4;
const BROTLI: u32 = 4;
const ZSTD: i32 = 3;

/// How far back equal text is found, as a power of two: 256 KiB, and 32 KiB of gzip. The default of Zstandard takes 4 MiB for each answer.
const WINDOW: u32 = 18;
const GZIP_WINDOW: u8 = 15;

/// The same for streams, of which many may be open for long, each waiting for what comes next: they come out some tenths longer, in a third of the memory.
const STREAM_BROTLI: u32 = 3;
const STREAM_ZSTD: i32 = 1;
const STREAM_WINDOW: u32 = 17;
const STREAM_GZIP_WINDOW: u8 = 13;

/// What is held back before it is written into the output.
const BUFFER: usize = 4096;

/// One body on its way into another form.
pub struct Encoder {
    coding: Coding,
    writer: Writer,
}

enum Writer {
    Zstd(ZstdEncoder<'static, Vec<u8>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Gzip(GzipEncoder),
}

/// Its name is that of the crate's type for the format around deflate; the one that it writes here is that of `Compress`.
type GzipEncoder = ZlibEncoder<Vec<u8>>;

/// What becomes of a piece at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// It may wait for more.
    No,
    /// It comes out whole: somebody may wait for it.
    Yes,
}

impl Encoder {
    /// For a body of that many bytes, where that is known; else for a stream.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new(coding: Coding, length: Option<u64>) -> io::Result<Self> {
        let (zstd, brotli, window, gzip_window) = match length {
            Some(_) => (ZSTD, BROTLI, WINDOW, GZIP_WINDOW),
            None => (STREAM_ZSTD, STREAM_BROTLI, STREAM_WINDOW, STREAM_GZIP_WINDOW),
        };
        let writer = match coding {
            Coding::Zstd => {
                let mut writer = ZstdEncoder::new(Vec::new(), zstd)?;
                writer.window_log(window)?;
                writer.set_pledged_src_size(length)?;
                Writer::Zstd(writer)
            }
            Coding::Br => Writer::Brotli(Box::new(CompressorWriter::new(Vec::new(), BUFFER, brotli, window))),
            Coding::Gzip => {
                let format = Compress::new_gzip(Compression::new(GZIP), gzip_window);
                Writer::Gzip(GzipEncoder::new_with_compress(Vec::new(), format))
            }
        };
        Ok(Self { coding, writer })
    }

    /// The form that it makes.
    pub fn coding(&self) -> Coding {
        self.coding
    }

    /// Takes a piece in and gives what has come out, which may be nothing.
    ///
    /// # Errors
    /// The body is longer than was said.
    pub fn push(&mut self, piece: &[u8], flush: Flush) -> io::Result<Bytes> {
        let writer: &mut dyn Write = match &mut self.writer {
            Writer::Zstd(writer) => writer,
            Writer::Brotli(writer) => writer,
            Writer::Gzip(writer) => writer,
        };
        writer.write_all(piece)?;
        if flush == Flush::Yes && !piece.is_empty() {
            writer.flush()?;
        }
        Ok(std::mem::take(self.writer.out()).into())
    }

    /// Gives the rest.
    ///
    /// # Errors
    /// The body is shorter than was said.
    pub fn finish(self) -> io::Result<Bytes> {
        match self.writer {
            Writer::Zstd(writer) => writer.finish(),
            Writer::Brotli(writer) => Ok(writer.into_inner()),
            Writer::Gzip(writer) => writer.finish(),
        }
        .map(Into::into)
    }
}

impl Writer {
    fn out(&mut self) -> &mut Vec<u8> {
        match self {
            Writer::Zstd(writer) => writer.get_mut(),
            Writer::Brotli(writer) => writer.get_mut(),
            Writer::Gzip(writer) => writer.get_mut(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut read: Box<dyn Read> = match coding {
            Coding::Zstd => Box::new(zstd::stream::read::Decoder::new(bytes).unwrap()),
            Coding::Br => Box::new(brotli::Decompressor::new(bytes, 4096)),
            Coding::Gzip => Box::new(flate2::read::GzDecoder::new(bytes)),
        };
        // What has come so far is all that counts: the end may be missing.
        let mut byte = [0];
        while matches!(read.read(&mut byte), Ok(1)) {
            out.push(byte[0]);
        }
        out
    }

    #[test]
    fn what_comes_out_is_what_went_in_and_shorter() {
        let text: Vec<u8> = (0..20_000).flat_map(|number: u32| format!("{{\"id\":{number}}},").into_bytes()).collect();
        for coding in [Coding::Zstd, Coding::Br, Coding::Gzip] {
            for length in [None, Some(text.len() as u64)] {
                let mut encoder = Encoder::new(coding, length).unwrap();
                let mut out = Vec::new();
                for piece in text.chunks(7919) {
                    out.extend_from_slice(&encoder.push(piece, Flush::No).unwrap());
                }
                out.extend_from_slice(&encoder.finish().unwrap());
                assert!(out.len() < text.len() / 2, "{coding:?}: {}", out.len());
                assert!(decoded(coding, &out) == text, "{coding:?}");
            }
        }
    }

    #[test]
    fn each_piece_can_be_read_once_it_is_flushed() {
        for coding in [Coding::Zstd, Coding::Br, Coding::Gzip] {
            let mut encoder = Encoder::new(coding, None).unwrap();
            let (mut out, mut sent) = (Vec::new(), Vec::new());
            for piece in ["data: one\n\n", "", "data: two\n\n"] {
                sent.extend_from_slice(piece.as_bytes());
                out.extend_from_slice(&encoder.push(piece.as_bytes(), Flush::Yes).unwrap());
                assert_eq!(decoded(coding, &out), sent, "{coding:?}");
            }
            out.extend_from_slice(&encoder.finish().unwrap());
            assert_eq!(decoded(coding, &out), sent, "{coding:?}");
        }
    }

    #[test]
    fn nothing_at_all_is_a_body_too() {
        for coding in [Coding::Zstd, Coding::Br, Coding::Gzip] {
            let out = Encoder::new(coding, None).unwrap().finish().unwrap();
            assert!(!out.is_empty() && decoded(coding, &out).is_empty(), "{coding:?}");
        }
    }
}
