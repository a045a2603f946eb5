//! Clients: one that sends just the bytes it is given and reads one answer by its framing, and one for HTTP/2.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::response::Parts;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, ClientConnection, Stream};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tokio_rustls::TlsConnector;

use super::{PATIENCE, secrets};

/// One HTTP/1.1 connection.
pub struct Client {
    stream: TcpStream,
    tls: Option<ClientConnection>,
    /// Received and not yet read as part of an answer.
    buffer: Vec<u8>,
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// The status line as it came.
    pub line: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The 1xx answers before it.
    pub interim: Vec<u16>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Closed,
    Reset,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// The same connection once more, for another thread to write while this one reads.
    pub fn twin(&self) -> Self {
        assert!(self.tls.is_none() && self.buffer.is_empty());
        Self::over(self.stream.try_clone().unwrap())
    }

    /// Connects, where somebody listens.
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        TcpStream::connect(address).map(Self::over)
    }

    /// Connects from another address of the loopback network, like `127.0.0.2`.
    pub fn connect_from(own: [u8; 4], address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((own, 0)).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::over(socket.into())
    }

    /// Connects over TLS to what should be this host, and shakes hands.
    pub fn secure(address: SocketAddr, config: &Arc<ClientConfig>, host: &str) -> Self {
        Self::try_secure(address, config, host).unwrap()
    }

    /// The same, where the handshake may fail.
    pub fn try_secure(address: SocketAddr, config: &Arc<ClientConfig>, host: &str) -> io::Result<Self> {
        let mut client = Self::connect(address);
        let mut tls = ClientConnection::new(config.clone(), host.to_owned().try_into().unwrap()).unwrap();
        tls.complete_io(&mut client.stream)?;
        client.tls = Some(tls);
        Ok(client)
    }

    /// What was agreed upon in the handshake.
    pub fn tls(&self) -> &ClientConnection {
        self.tls.as_ref().unwrap()
    }

    /// On a connection that is there.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, tls: None, buffer: Vec::new() }
    }

    /// Sends these bytes in one piece.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    /// Sends as far as the gateway takes it.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        secrets::of_request(bytes.as_ref());
        match &mut self.tls {
            Some(tls) => Stream::new(tls, &mut self.stream).write_all(bytes.as_ref()),
            None => self.stream.write_all(bytes.as_ref()),
        }
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Reads the next answer to a request that is no HEAD.
    pub fn read(&mut self) -> Response {
        self.answer(false).unwrap_or_else(|error| panic!("no answer: {error}; so far: {:?}", String::from_utf8_lossy(&self.buffer)))
    }

    /// Reads the next answer to a HEAD.
    pub fn read_head(&mut self) -> Response {
        self.answer(true).unwrap_or_else(|error| panic!("no answer: {error}; so far: {:?}", String::from_utf8_lossy(&self.buffer)))
    }

    /// Reads an answer, or finds that it is cut off.
    pub fn try_read(&mut self) -> io::Result<Response> {
        self.answer(false)
    }

    /// Reads a header alone: a 1xx answer, or one whose body is read with [`Client::bytes`].
    pub fn head(&mut self) -> Response {
        let head = self.header().unwrap();
        parse(&head)
    }

    /// The next bytes, just so many.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        self.take(count).unwrap()
    }

    /// The same, where the connection may end before.
    pub fn try_bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        self.take(count)
    }

    /// `GET` on the connection, with what is usual and no more.
    pub fn get(&mut self, path: &str) -> Response {
        self.get_with(path, "")
    }

    /// `GET` with more header lines, each with its CR LF.
    pub fn get_with(&mut self, path: &str, lines: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: gateway.test\r\n{lines}\r\n"));
        self.read()
    }

    /// `GET`, where there may be no answer.
    pub fn try_get(mut self, path: &str) -> io::Result<Response> {
        self.try_send(format!("GET {path} HTTP/1.1\r\nHost: gateway.test\r\n\r\n"))?;
        self.try_read()
    }

    /// Whether nothing comes for that long, and the connection goes on.
    pub fn is_silent_for(&mut self, time: std::time::Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let silent = self.more().is_err_and(|error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut));
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        silent
    }

    /// Waits for the end of the connection and says how it ended; nothing may come before it.
    pub fn ends(&mut self) -> End {
        let (end, rest) = self.rest();
        assert!(rest.is_empty(), "more came: {:?}", String::from_utf8_lossy(&rest));
        end
    }

    /// All that comes before the end of the connection.
    pub fn rest(&mut self) -> (End, Vec<u8>) {
        loop {
            match self.more() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return (End::Closed, std::mem::take(&mut self.buffer)),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return (End::Reset, std::mem::take(&mut self.buffer)),
                Err(error) => panic!("the connection has not ended: {error}"),
            }
        }
    }

    fn answer(&mut self, head_only: bool) -> io::Result<Response> {
        let mut interim = Vec::new();
        let mut response = loop {
            let response = parse(&self.header()?);
            if response.status >= 200 || response.status == 101 {
                break response;
            }
            interim.push(response.status);
        };
        response.interim = interim;
        if head_only || matches!(response.status, 204 | 304) {
            return Ok(response);
        }
        if response.header("transfer-encoding") == Some("chunked") {
            response.body = self.chunks()?;
        } else if let Some(length) = response.header("content-length") {
            response.body = self.take(length.parse().unwrap())?;
        } else {
            loop {
                match self.more() {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                    Err(error) => return Err(error),
                }
            }
            response.body = std::mem::take(&mut self.buffer);
        }
        if response.all("content-type") == ["application/problem+json"] {
            secrets::none_within("a problem", &format!("{:?} {}", response.headers, String::from_utf8_lossy(&response.body)));
        }
        Ok(response)
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.until(b"\r\n")?;
            let size = String::from_utf8(line).unwrap();
            let size = usize::from_str_radix(size.split(';').next().unwrap().trim(), 16).unwrap();
            if size == 0 {
                while self.until(b"\r\n")? != b"\r\n" {}
                return Ok(body);
            }
            body.extend(self.take(size)?);
            assert_eq!(self.take(2)?, b"\r\n", "a chunk does not end with CR LF");
        }
    }

    fn header(&mut self) -> io::Result<Vec<u8>> {
        self.until(b"\r\n\r\n")
    }

    fn until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return self.take(at + end.len());
            }
            self.more()?;
        }
    }

    fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            self.more()?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    fn more(&mut self) -> io::Result<usize> {
        let mut piece = [0; 16 * 1024];
        let read = match &mut self.tls {
            // An end without the word that TLS has for it is a cut.
            Some(tls) => Stream::new(tls, &mut self.stream).read(&mut piece).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => io::ErrorKind::ConnectionAborted.into(),
                _ => error,
            }),
            None => self.stream.read(&mut piece),
        };
        match read? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.buffer.extend_from_slice(&piece[..count]);
                Ok(count)
            }
        }
    }
}

fn parse(head: &[u8]) -> Response {
    let head = String::from_utf8(head.to_vec()).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let line = lines.next().unwrap().to_owned();
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("not a status line: {line:?}"));
    let headers = lines.map(|field| {
        let (name, value) = field.split_once(':').unwrap_or_else(|| panic!("not a field: {field:?}"));
        (name.to_ascii_lowercase(), value.trim().to_owned())
    });
    Response { status, headers: headers.collect(), line, body: Vec::new(), interim: Vec::new() }
}

impl Response {
    /// The value of a header that comes at most once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let first = found.next();
        assert!(found.next().is_none(), "{name} comes more than once: {:?}", self.headers);
        first
    }

    /// Every value of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    /// Holds the answer to what every problem of the gateway is, and gives its body.
    pub fn problem(&self, status: u16, kind: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let body = self.json();
        let uri = match kind {
            "quota-exceeded" => "https://iana.org/assignments/http-problem-types#quota-exceeded".to_owned(),
            kind => format!("urn:tidegate:problem:{kind}"),
        };
        assert_eq!(body["type"], Value::from(uri), "{body}");
        assert_eq!(body["status"], status, "{body}");
        for member in ["title", "detail", "request_id"] {
            assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{member} is missing in {body}");
        }
        body
    }
}

/// One HTTP/2 connection: without TLS by prior knowledge, with it as was agreed upon.
pub struct H2 {
    sender: http2::SendRequest<Pieces>,
}

/// A body of these pieces, whose end is known only after the last: so its length cannot be told before.
#[derive(Debug, Default)]
pub struct Pieces(pub VecDeque<&'static str>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))))
    }
}

impl H2 {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender }
    }

    /// The same over TLS, to what should be this host.
    pub async fn secure(address: SocketAddr, config: &Arc<ClientConfig>, host: &str) -> Self {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let stream = TlsConnector::from(config.clone()).connect(host.to_owned().try_into().unwrap(), stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender }
    }

    /// One request on a stream of its own.
    pub async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], pieces: &[&'static str]) -> (Parts, Bytes) {
        let (parts, body, _) = self.whole(method, path, headers, pieces).await;
        (parts, body)
    }

    /// The same, with the trailers of the answer.
    pub async fn whole(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        pieces: &[&'static str],
    ) -> (Parts, Bytes, Option<http::HeaderMap>) {
        let (parts, body) = self.begin(method, path, headers, pieces).await;
        let body = body.collect().await.unwrap();
        let trailers = body.trailers().cloned();
        let body = body.to_bytes();
        if parts.headers.get("content-type").is_some_and(|kind| kind == "application/problem+json") {
            secrets::none_within("a problem", &format!("{:?} {}", parts.headers, String::from_utf8_lossy(&body)));
        }
        (parts, body, trailers)
    }

    /// The same as far as the header of the answer; its body is read as it comes, and given up where it is dropped.
    pub async fn begin(&self, method: &str, path: &str, headers: &[(&str, &str)], pieces: &[&'static str]) -> (Parts, Incoming) {
        let mut sender = self.sender.clone();
        sender.ready().await.unwrap();
        let mut request = http::Request::builder().method(method).uri(format!("http://gateway.test{path}"));
        secrets::of_target(path);
        for (name, value) in headers {
            secrets::of_header(name, value);
            request = request.header(*name, *value);
        }
        let sent = sender.send_request(request.body(Pieces(pieces.iter().copied().collect())).unwrap());
        tokio::time::timeout(PATIENCE, sent).await.unwrap().unwrap().into_parts()
    }

    /// `GET` with nothing more.
    pub async fn get(&self, path: &str) -> (Parts, Bytes) {
        self.request("GET", path, &[], &[]).await
    }

    /// Whether the gateway has closed the connection.
    pub fn closed(&self) -> bool {
        self.sender.is_closed()
    }
}
