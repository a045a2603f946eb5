//! Bodies on their way out in another form, where a policy has chosen one.

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use pingora_error::{ErrorType, OrErr, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use prometheus::IntGauge;
use tokio::sync::OwnedSemaphorePermit;

use super::{Exchange, is_http2};
use crate::body::{Encoder, Flush};
use crate::types::{Coding, Recoding};

/// Bytes of a whole body that are encoded before others have their turn: about a millisecond.
const TURN: usize = 64 * 1024;

/// The body of an answer, as it goes out.
pub(super) struct Encoding {
    encoder: Encoder,
    flush: Flush,
    _counted: Counted,
}

/// One of the bodies that are encoded at once, for as long as it is.
struct Counted {
    gauge: IntGauge,
    _place: OwnedSemaphorePermit,
}

impl Counted {
    fn new(gauge: IntGauge, place: OwnedSemaphorePermit) -> Self {
        gauge.inc();
        Self { gauge, _place: place }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// After the way up: begins to encode, where a policy wants that and none has changed its mind. The answer to a HEAD is framed as that to a GET.
pub(super) fn begin(session: &Session, exchange: &mut Exchange, res: &mut ResponseHeader) {
    let shard = &exchange.pinned.book.shard;
    let (coding, length, place) = match exchange.cx.recoding.take() {
        Some(Recoding::To { coding, length, place }) => (coding, length, place),
        Some(Recoding::Crowded) => return shard.encoders_full.inc(),
        None => return,
    };
    if res.headers.get(header::CONTENT_ENCODING).is_none_or(|named| named != coding.name()) {
        return;
    }
    if !is_http2(session.req_header()) {
        let _ = res.insert_header(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if session.req_header().method == Method::HEAD {
        return;
    }
    match Encoder::new(coding, length) {
        // Whoever does not know how long it will be may have to wait for more.
        Ok(encoder) => {
            let flush = if length.is_some() { Flush::No } else { Flush::Yes };
            let counted = Counted::new(shard.encoders.clone(), place);
            exchange.encoding = Some(Box::new(Encoding { encoder, flush, _counted: counted }));
        }
        Err(_) => drop(res.remove_header(&header::CONTENT_ENCODING)),
    }
}

/// A piece of a body that comes bit by bit, in the form in which it goes out.
///
/// # Errors
/// The body is not as long as was said.
pub(super) fn piece(exchange: &mut Exchange, body: &mut Option<Bytes>, end: bool) -> Result<()> {
    let Some(encoding) = &mut exchange.encoding else { return Ok(()) };
    let piece = body.take().unwrap_or_default();
    let (coding, flush) = (encoding.encoder.coding(), if end { Flush::No } else { encoding.flush });
    let out = encoding.encoder.push(&piece, flush).or_err(ErrorType::InternalError, "a body could not be encoded")?;
    count(exchange, coding, "before", piece.len());
    count(exchange, coding, "after", out.len());
    *body = Some(match end.then(|| rest(exchange)).transpose()?.flatten() {
        Some(rest) if out.is_empty() => rest,
        Some(rest) => [out, rest].concat().into(),
        None => out,
    });
    Ok(())
}

/// What is left of a body at its end.
///
/// # Errors
/// The body is not as long as was said.
pub(super) fn rest(exchange: &mut Exchange) -> Result<Option<Bytes>> {
    let Some(encoding) = exchange.encoding.take() else { return Ok(None) };
    let coding = encoding.encoder.coding();
    let rest = encoding.encoder.finish().or_err(ErrorType::InternalError, "a body could not be encoded")?;
    count(exchange, coding, "after", rest.len());
    Ok(Some(rest))
}

/// A body that is here as a whole, in the form in which it goes out, and its length.
///
/// # Errors
/// None that a body of the length that was said could have.
pub(super) async fn whole(exchange: &mut Exchange, res: &mut ResponseHeader, body: Bytes) -> Result<Bytes> {
    if exchange.encoding.is_none() {
        return Ok(body);
    }
    let mut out = Vec::with_capacity(body.len() / 4);
    for turn in body.chunks(TURN) {
        if !out.is_empty() {
            tokio::task::yield_now().await;
        }
        let mut piece = Some(body.slice_ref(turn));
        self::piece(exchange, &mut piece, false)?;
        out.extend_from_slice(&piece.unwrap_or_default());
    }
    out.extend_from_slice(&rest(exchange)?.unwrap_or_default());
    res.remove_header(&header::TRANSFER_ENCODING);
    res.insert_header(header::CONTENT_LENGTH, out.len())?;
    Ok(out.into())
}

fn count(exchange: &Exchange, coding: Coding, when: &str, bytes: usize) {
    exchange.pinned.book.shard.encoded.with_label_values(&[coding.name(), when]).inc_by(bytes as u64);
}
