use std::sync::LazyLock;
use std::time::Duration;

use http::{HeaderValue, header};
use memchr::memmem;
use pingora_core::connectors::TransportConnector;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::Error;
use pingora_http::RequestHeader;

use super::{HealthConfig, StatusConfig, grpc};
use crate::building::BuildError;

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

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION"), " health"));

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

    /// Asks a target that sees this `Host`; `patience` is what it is told of the time it has.
    ///
    /// # Errors
    /// Why it is ill.
    pub async fn of(&self, peer: &mut HttpPeer, host: &HeaderValue, patience: Duration) -> Result<(), String> {
        match self {
            Ask::Http { path, status, body } => http(connect(peer).await?, path, host, status, body.as_deref()).await,
            Ask::Tcp => connect(peer).await.map(drop),
            Ask::Grpc(service) => {
                peer.options.set_http_version(2, 2);
                grpc::ask(connect(peer).await?, service, host, peer.is_tls(), patience).await
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

async fn http(stream: Stream, path: &str, host: &HeaderValue, status: &[StatusConfig], body: Option<&str>) -> Result<(), String> {
    let wrong = |error: Box<Error>| broken(&error);
    let mut req = RequestHeader::build("GET", path.as_bytes(), Some(3)).map_err(wrong)?;
    for (name, value) in
        [(header::HOST, host.clone()), (header::USER_AGENT, USER_AGENT), (header::CONNECTION, HeaderValue::from_static("close"))]
    {
        req.insert_header(name, value).map_err(wrong)?;
    }
    let mut session = HttpSession::new(stream);
    session.write_request_header(Box::new(req)).await.map_err(wrong)?;
    let answered = loop {
        session.read_response().await.map_err(wrong)?;
        match session.get_status() {
            Some(status) if status.is_informational() => {}
            Some(status) => break status,
            None => return Err("it did not answer".to_owned()),
        }
    };
    if !status.iter().any(|known| known.has(answered)) {
        return Err(format!("it answered {}", answered.as_u16()));
    }
    let Some(text) = body else { return Ok(()) };
    session.respect_keepalive();
    let mut seen = Vec::new();
    while seen.len() < BODY
        && let Some(piece) = session.read_body_bytes().await.map_err(wrong)?
    {
        seen.extend_from_slice(piece.get(..BODY - seen.len()).unwrap_or(&piece));
        if memmem::find(&seen, text.as_bytes()).is_some() {
            return Ok(());
        }
    }
    Err(format!("its answer does not contain `{text}`"))
}
