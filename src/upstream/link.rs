//! A connection to a target that is made for one request and kept for none: what follows a handshake is no HTTP any more.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, Version};
use pingora_core::connectors::TransportConnector;
use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_core::protocols::{ALPN, Stream};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_timeout::timeout;
use tokio::sync::OnceCell;

/// Makes such connections, for one worker.
#[derive(Default)]
pub struct Linker(OnceCell<TransportConnector>);

/// One of them, with its request on the way or answered.
pub struct Link(Box<HttpSession>);

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Linker {
    /// Connects, within the peer's bounds for that. Over TLS it is HTTP/1.1 that is asked for: only there another protocol can be switched to.
    ///
    /// # Errors
    /// No connection came about.
    pub async fn connect(&self, peer: &HttpPeer) -> Result<Link> {
        let mut peer = peer.clone();
        peer.options.alpn = ALPN::H1;
        let stream = self.connector().await.new_stream(&peer).await.map_err(|error| error.into_up())?;
        let mut session = HttpSession::new_with_options(stream, &peer);
        session.read_timeout = peer.options.read_timeout;
        session.write_timeout = peer.options.write_timeout;
        Ok(Link(Box::new(session)))
    }

    /// Made when first needed, and not here: it reads the roots of the system, which takes milliseconds.
    async fn connector(&self) -> &TransportConnector {
        let make = || async {
            let made = tokio::task::spawn_blocking(|| TransportConnector::new(None)).await;
            made.unwrap_or_else(|_| TransportConnector::new(None))
        };
        self.0.get_or_init(make).await
    }
}

impl Link {
    /// Sends the header of a request without a body, and waits for that of the answer, for at most so long.
    ///
    /// # Errors
    /// The connection breaks, or what comes is no answer.
    pub async fn ask(&mut self, mut head: RequestHeader, within: Duration) -> Result<Box<ResponseHeader>> {
        head.set_version(Version::HTTP_11);
        self.0.write_request_header(Box::new(head)).await.map_err(|error| error.into_up())?;
        let answer = timeout(within, async {
            loop {
                self.0.read_response().await?;
                match self.0.resp_header() {
                    Some(head) if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS => {}
                    Some(head) => return Ok(Box::new(head.clone())),
                    None => return Err(Error::new(ErrorType::InvalidHTTPHeader)),
                }
            }
        });
        answer.await.unwrap_or_else(|_| Err(Error::new(ErrorType::ReadTimedout))).map_err(|error| error.into_up())
    }

    /// A next piece of the answer's body, none after the last.
    ///
    /// # Errors
    /// The connection breaks.
    pub async fn read(&mut self) -> Result<Option<Bytes>> {
        self.0.read_body_bytes().await.map_err(|error| error.into_up())
    }

    /// After a 101: the connection, and what has come over it behind the answer.
    pub async fn switch(mut self) -> (Stream, Bytes) {
        // What was read along with the header is handed out first, without waiting; what else may be there by now comes after it.
        let early = tokio::select! {
            biased;
            piece = self.0.read_body_bytes() => piece.ok().flatten().unwrap_or_default(),
            () = std::future::ready(()) => Bytes::new(),
        };
        (self.0.into_inner(), early)
    }
}
