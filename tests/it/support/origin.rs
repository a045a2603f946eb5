//! Servers behind the gateway: one by hyper for the usual, and one that keeps every byte it gets and answers just what a test says.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use bytes::Bytes;
use http::{HeaderMap, Method, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::oneshot;

use super::PATIENCE;

/// A request as it reached the origin.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    /// The target as sent: path and query.
    pub target: String,
    pub version: Version,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Seen {
    /// The value of a header that came just once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let values: Vec<_> = self.headers.get_all(name).iter().collect();
        assert!(values.len() < 2, "{name} came more than once: {:?}", self.headers);
        values.first().map(|value| value.to_str().unwrap())
    }
}

pub type Answer = http::Response<String>;

/// A server of HTTP/1.1, or of HTTP/2 by prior knowledge.
pub struct Origin {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Origin {
    /// Answers each request 200 with the text `here`.
    pub fn start() -> Self {
        Self::answering(|_| Answer::new("here".to_owned()))
    }

    /// Answers each request as the function says.
    pub fn answering(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), answer)
    }

    /// The same, at an address of choice.
    pub fn at(address: SocketAddr, answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::speaking(Version::HTTP_11, address, answer)
    }

    /// The same over HTTP/2, without TLS.
    pub fn http2(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::speaking(Version::HTTP_2, "127.0.0.1:0".parse().unwrap(), answer)
    }

    fn speaking(version: Version, address: SocketAddr, answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, connections) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::<AtomicUsize>::default());
        let (stop, stopped) = oneshot::channel();
        let (kept, counted, answer) = (seen.clone(), connections.clone(), Arc::new(answer));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let accept = async {
                    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                    loop {
                        let (stream, _) = listener.accept().await.unwrap();
                        counted.fetch_add(1, Ordering::Relaxed);
                        let (kept, answer) = (kept.clone(), answer.clone());
                        let service = service_fn(move |request| serve(request, kept.clone(), answer.clone()));
                        let stream = TokioIo::new(stream);
                        if version == Version::HTTP_2 {
                            tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service));
                        } else {
                            tokio::spawn(http1::Builder::new().serve_connection(stream, service));
                        }
                    }
                };
                tokio::select! {
                    () = accept => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, seen, connections, stop: Some(stop), thread: Some(thread) }
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The only request so far.
    pub fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen[0].clone()
    }

    /// The newest request; the others are forgotten.
    pub fn last(&self) -> Seen {
        std::mem::take(&mut *self.seen.lock().unwrap()).pop().unwrap()
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn serve(
    request: hyper::Request<Incoming>,
    seen: Arc<Mutex<Vec<Seen>>>,
    answer: Arc<impl Fn(&Seen) -> Answer>,
) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let target = parts.uri.to_string();
    let request = Seen { method: parts.method, target, version: parts.version, headers: parts.headers, body };
    let answer = answer(&request);
    seen.lock().unwrap().push(request);
    Ok(answer.map(|text| Full::new(text.into())))
}

impl Drop for Origin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A server that speaks by a script, on each connection anew, and keeps every byte that it was sent.
pub struct RawOrigin {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Vec<u8>>>>,
    ending: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

/// One connection to a [`RawOrigin`].
pub struct Talk {
    stream: TcpStream,
    buffer: Vec<u8>,
    received: Arc<Mutex<Vec<Vec<u8>>>>,
    index: usize,
}

impl RawOrigin {
    /// Runs the script on a thread of its own for each connection, which is closed at its end.
    pub fn start(script: impl Fn(Talk) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (received, ending) = (Arc::<Mutex<Vec<Vec<u8>>>>::default(), Arc::<AtomicUsize>::default());
        let (kept, end, script) = (received.clone(), ending.clone(), Arc::new(script));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if end.load(Ordering::Relaxed) > 0 {
                    return;
                }
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let index = {
                    let mut kept = kept.lock().unwrap();
                    kept.push(Vec::new());
                    kept.len() - 1
                };
                let talk = Talk { stream, buffer: Vec::new(), received: kept.clone(), index };
                let script = script.clone();
                std::thread::spawn(move || script(talk));
            }
        });
        Self { address, received, ending, thread: Some(thread) }
    }

    /// Answers every request 200 with `here`, one after the other on a connection, its body framed as the request says.
    pub fn usual() -> Self {
        Self::start(|mut talk| {
            while talk.request().is_some() {
                talk.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere");
            }
        })
    }

    /// Answers with a body that has no end, and tells when nobody takes any more of it.
    pub fn endless() -> (Self, mpsc::Receiver<()>) {
        let (tell, told) = mpsc::channel();
        let tell = Mutex::new(tell);
        let origin = Self::start(move |mut talk| {
            talk.request();
            talk.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            let chunk = [b"4000\r\n".to_vec(), vec![b'x'; 0x4000], b"\r\n".to_vec()].concat();
            while talk.try_say(&chunk) {}
            tell.lock().unwrap().send(()).unwrap();
        });
        (origin, told)
    }

    /// All bytes that were received so far, by connection.
    pub fn received(&self) -> Vec<Vec<u8>> {
        self.received.lock().unwrap().clone()
    }
}

impl Drop for RawOrigin {
    fn drop(&mut self) {
        self.ending.store(1, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Talk {
    /// Reads one request, header and body, as one string of bytes; none once the gateway has closed.
    pub fn request(&mut self) -> Option<Vec<u8>> {
        let mut request = self.header()?;
        let head = String::from_utf8_lossy(&request).to_ascii_lowercase();
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if let Some(length) = field("content-length:") {
            request.extend(self.take(length.parse().ok()?)?);
        } else if field("transfer-encoding:") == Some("chunked") {
            while !request.ends_with(b"\r\n0\r\n\r\n") {
                request.extend(self.take(1)?);
            }
        }
        Some(request)
    }

    /// Reads the header of a request.
    pub fn header(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                return self.take(at + 4);
            }
            self.more()?;
        }
    }

    /// Reads just so many bytes.
    pub fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < count {
            self.more()?;
        }
        Some(self.buffer.drain(..count).collect())
    }

    fn more(&mut self) -> Option<()> {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) | Err(_) => None,
            Ok(count) => {
                self.buffer.extend_from_slice(&piece[..count]);
                self.received.lock().unwrap()[self.index].extend_from_slice(&piece[..count]);
                Some(())
            }
        }
    }

    /// Sends these bytes.
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Sends these bytes, and says whether the gateway still takes them.
    pub fn try_say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Reads until the gateway closes.
    pub fn until_closed(&mut self) {
        while self.more().is_some() {}
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }
}
