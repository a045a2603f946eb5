use std::sync::LazyLock;
use std::time::Duration;

use http::{HeaderValue, Uri, Version, header};
use memchr::memmem;
use pingora_core::connectors::TransportConnector;
use pingora_core::connectors::http::v2::{H2HandshakeSettings, handshake};
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::protocols::http::v1::client as http1;
use pingora_core::protocols::http::v2::client::Http2Session;
use pingora_core::protocols::{ALPN, Stream};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::Error;
use pingora_http::RequestHeader;

use super::{HealthConfig, Ready, StatusConfig, grpc};
use crate::building::BuildError;
use crate::upstream::Failure;

/// What a target is asked.
#[derive(Debug)]
pub enum Ask {
    /// A `GET` of this path and query.
    Http { path: Box<str>, status: Box<[StatusConfig]>, body: Option<Box<str>> },
    /// A connection.
    Tcp,
    /// The health of this gRPC service.
    Grpc(Box<str>),
}

/// For all checks: connections are new, and a store of certificates is large.
static CONNECTOR: LazyLock<TransportConnector> = LazyLock::new(|| TransportConnector::new(None));

/// Bytes of an answer's body that are searched.
const BODY: usize = 64 * 1024;

pub(super) const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION"), " health"));

impl Ask {
    /// # Errors
    /// Not just one way to ask, or details of another.
    pub fn build(config: &HealthConfig) -> Result<Self, BuildError> {
        let ask = match (&config.path, config.tcp, &config.grpc) {
            (Some(path), false, None) => {
                let fits = path.starts_with('/') && path.parse::<http::uri::PathAndQuery>().is_ok_and(|parsed| parsed.as_str() == path);
                if !fits {
                    return Err(BuildError::new(format!("`{path}` is not a path"), "write one like `/healthz`").at("path"));
                }
                let status = config.status.clone().unwrap_or_else(|| vec![StatusConfig::SUCCESS]);
                if status.is_empty() {
                    return Err(BuildError::new("no answer at all would do", "write statuses like `[200]`, or remove it").at("status"));
                }
                let body = config.body.as_deref().map(Into::into);
                if config.body.as_ref().is_some_and(String::is_empty) {
                    return Err(BuildError::new("every answer contains nothing", "write a text, or remove it").at("body"));
                }
                return Ok(Ask::Http { path: path.as_str().into(), status: status.into(), body });
            }
            (None, true, None) => Ask::Tcp,
            (None, false, Some(service)) => Ask::Grpc(service.as_str().into()),
            _ => {
                let fix = "write one of `path: /healthz`, `tcp: true` and `grpc: \"\"`";
                return Err(BuildError::new("a target is asked in one way, no more and no less", fix));
            }
        };
        for (key, is_there) in [("status", config.status.is_some()), ("body", config.body.is_some())] {
            if is_there {
                return Err(BuildError::new("only an answer to a `path` has one", "remove it, or ask for a `path`").at(key));
            }
        }
        Ok(ask)
    }

    /// Whether there is a header for credentials.
    pub fn shows_credentials(&self) -> bool {
        !matches!(self, Ask::Tcp)
    }

    /// Asks a target that sees this `Host` and these credentials; `patience` is what it is told of the time it has.
    ///
    /// # Errors
    /// Why it is ill.
    pub async fn of(&self, peer: &mut HttpPeer, host: &HeaderValue, ready: Option<&Ready>, patience: Duration) -> Result<(), String> {
        match self {
            Ask::Http { path, status, body } => {
                http(open(peer).await?, uri(peer, host, path)?, (host, ready), status, body.as_deref()).await
            }
            Ask::Tcp => connect(peer).await.map(drop),
            Ask::Grpc(service) => {
                peer.options.set_http_version(2, 2);
                let session = multiplexed(connect(peer).await?).await?;
                grpc::ask(session, uri(peer, host, grpc::METHOD)?, ready, service, patience).await
            }
        }
    }
}

async fn connect(peer: &HttpPeer) -> Result<Stream, String> {
    CONNECTOR.new_stream(peer).await.map_err(|error| format!("no connection: {}", error.root_cause()))
}

/// What a broken conversation is told as.
pub(super) fn broken(error: &Error) -> String {
    format!("it broke off: {}", error.root_cause())
}

/// A conversation in the protocol that requests are sent in.
async fn open(peer: &HttpPeer) -> Result<HttpSession, String> {
    let stream = connect(peer).await?;
    // Over TLS it is agreed on, otherwise known.
    let version = if peer.is_tls() { stream.selected_alpn_proto() } else { Some(peer.options.alpn.clone()) };
    match version {
        Some(ALPN::H2) => multiplexed(stream).await.map(HttpSession::H2),
        _ => Ok(HttpSession::H1(http1::HttpSession::new(stream))),
    }
}

async fn multiplexed(stream: Stream) -> Result<Http2Session, String> {
    let mut settings = H2HandshakeSettings::new();
    settings.max_streams = 1;
    let connection = handshake(stream, settings).await.map_err(|error| broken(&error))?;
    connection.spawn_stream().await.map_err(|error| broken(&error))?.ok_or_else(|| "it takes no request".to_owned())
}

/// The whole of a target's address, which HTTP/2 sends.
fn uri(peer: &HttpPeer, host: &HeaderValue, path: &str) -> Result<Uri, String> {
    let scheme = if peer.is_tls() { "https" } else { "http" };
    Uri::builder().scheme(scheme).authority(host.as_bytes()).path_and_query(path).build().map_err(|error| error.to_string())
}

async fn http(
    mut session: HttpSession,
    uri: Uri,
    (host, ready): (&HeaderValue, Option<&Ready>),
    status: &[StatusConfig],
    body: Option<&str>,
) -> Result<(), String> {
    let wrong = |error: Box<Error>| broken(&error);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut req = RequestHeader::build("GET", path.as_bytes(), Some(3)).map_err(wrong)?;
    req.insert_header(header::USER_AGENT, USER_AGENT).map_err(wrong)?;
    if session.as_http2().is_some() {
        req.set_version(Version::HTTP_2);
        req.set_uri(uri);
    } else {
        req.insert_header(header::HOST, host.clone()).map_err(wrong)?;
        req.insert_header(header::CONNECTION, HeaderValue::from_static("close")).map_err(wrong)?;
    }
    if let Some(ready) = ready {
        ready.show(&mut req);
    }
    session.write_request_header(Box::new(req)).await.map_err(wrong)?;
    session.finish_request_body().await.map_err(wrong)?;
    let answered = loop {
        session.read_response_header().await.map_err(wrong)?;
        match session.response_header().map(|header| header.status) {
            Some(status) if status.is_informational() => {}
            Some(status) => break status,
            None => return Err("it did not answer".to_owned()),
        }
    };
    if let Some(ready) = ready {
        ready.judged(Failure::Status(answered));
    }
    if !status.iter().any(|known| known.has(answered)) {
        return Err(format!("it answered {}", answered.as_u16()));
    }
    let Some(text) = body else { return Ok(()) };
    let mut seen = Vec::new();
    while seen.len() < BODY
        && let Some(piece) = session.read_response_body().await.map_err(wrong)?
    {
        seen.extend_from_slice(piece.get(..BODY - seen.len()).unwrap_or(&piece));
        if memmem::find(&seen, text.as_bytes()).is_some() {
            return Ok(());
        }
    }
    Err(format!("its answer does not contain `{text}`"))
}
