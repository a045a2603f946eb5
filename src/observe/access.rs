//! The access log: one JSON line per request, written off the workers. A worker appends to its own buffer, which wakes nobody; a thread collects the
//! buffers ten times a second.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use prometheus::IntCounter;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use crate::ctx::Ctx;

/// `access_log:` — what is written down of each request.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLogConfig {
    /// `stdout`, `stderr`, `off`, or the path of a file to append to. Default: stdout.
    pub to: Sink,
}

impl Default for AccessLogConfig {
    fn default() -> Self {
        Self { to: Sink::Stdout }
    }
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String", extend("pattern" = "^(stdout|stderr|off)$|/"))]
pub enum Sink {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Nowhere.
    Off,
    /// A file, appended to.
    File(PathBuf),
}

impl<'de> Deserialize<'de> for Sink {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match String::deserialize(deserializer)?.as_str() {
            "stdout" => Sink::Stdout,
            "stderr" => Sink::Stderr,
            "off" => Sink::Off,
            path if path.contains('/') => Sink::File(path.into()),
            other => {
                let fix = format!("`{other}` is not `stdout`, `stderr`, `off` or the path of a file, like `/var/log/tidegate/access.log`");
                return Err(serde::de::Error::custom(fix));
            }
        })
    }
}

impl Serialize for Sink {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Sink::Stdout => serializer.serialize_str("stdout"),
            Sink::Stderr => serializer.serialize_str("stderr"),
            Sink::Off => serializer.serialize_str("off"),
            Sink::File(path) => serializer.collect_str(&path.display()),
        }
    }
}

/// One request, as it is written down.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    /// When its header was there, RFC 3339 in UTC.
    #[serde(serialize_with = "rfc3339")]
    pub time: SystemTime,
    /// Its id, as in the answer.
    pub request_id: &'a str,
    /// The client's address.
    pub client: std::net::IpAddr,
    /// Who called, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer: Option<&'a str>,
    /// What the credential is called that has proven it: the id of an API key, a user name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<&'a str>,
    /// The subject of the certificate that the client has shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<&'a str>,
    /// As sent.
    pub method: &'a str,
    /// As asked for.
    pub host: &'a str,
    /// As matched, without the query: it may hold secrets.
    pub path: &'a str,
    /// The route's name.
    pub route: &'a str,
    /// The version's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<&'a str>,
    /// The service's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<&'a str>,
    /// The target's host and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<&'a str>,
    /// What answered in the service's stead: another service, or `reply`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<&'a str>,
    /// The answer's status; 0 where none was sent.
    pub status: u16,
    /// The problem, where the gateway said no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<&'a str>,
    /// The policy that refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<&'a str>,
    /// What only the operator may know of the problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'a str>,
    /// How a WebSocket ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub websocket: Option<Closing>,
    /// Bytes of the request's body; of a WebSocket all that its client has sent.
    pub received: usize,
    /// Bytes of the answer's body; of a WebSocket all that its service has sent.
    pub sent: usize,
    /// How often it was sent to a target, where that was more than once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// The code that a call of gRPC ended with, as its caller sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<u16>,
    /// The id of the request that it came inside of, in a batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<&'a str>,
    /// What became of the parts of a composed answer.
    #[serde(skip_serializing_if = "<[PartTold]>::is_empty")]
    pub parts: &'a [PartTold],
    /// From the header to the end of the answer, in milliseconds.
    pub duration_ms: f64,
    /// From the choice of a target to the end, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_ms: Option<f64>,
}

impl<'a> Line<'a> {
    /// What is known of a request that began then, with nothing of how it ended but when.
    pub fn of(cx: &'a Ctx, time: SystemTime, started: Instant, upstream_started: Option<Instant>) -> Self {
        let since = |start: Instant| (start.elapsed().as_secs_f64() * 1e6).round() / 1e3;
        Self {
            time,
            request_id: cx.request_id(),
            client: cx.client,
            consumer: cx.consumer.as_ref().map(|consumer| consumer.name.as_str()),
            credential: cx.credential.as_deref(),
            client_cert: cx.client_cert.as_deref().map(|cert| &*cert.subject),
            method: "-",
            host: &cx.host,
            path: &cx.path,
            route: "-",
            version: cx.version.as_deref(),
            service: None,
            target: None,
            fallback: None,
            status: 0,
            problem: None,
            policy: None,
            cause: None,
            websocket: None,
            received: 0,
            sent: 0,
            attempts: None,
            grpc_status: None,
            batch: None,
            parts: &[],
            duration_ms: since(started),
            upstream_ms: upstream_started.map(since),
        }
    }
}

/// What became of one part of a composed answer.
#[derive(Clone, Debug, Serialize)]
pub struct PartTold {
    /// Its name.
    #[serde(serialize_with = "text")]
    pub name: Arc<str>,
    /// The status of its answer, where it had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// `ok`, or what went wrong, as in the metric `tidegate_parts_total`.
    pub result: &'static str,
    /// How many calls it is made of, where there is one for each element of an array.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<usize>,
    /// How many of them gave nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<usize>,
    /// `hit` where its answer was kept from before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<&'static str>,
    /// From its call to its end, in milliseconds.
    pub duration_ms: f64,
}

/// How a WebSocket ended.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Closing {
    /// Who ended it: `client`, `service` or `gateway`.
    pub by: &'static str,
    /// How: `closed`, `cut`, `stalled`, `violation`, `too_large`, `idle`, `draining`.
    pub how: &'static str,
    /// The code that was said (RFC 6455 §7.4), where one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
}

fn text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}

/// Bytes that may wait in one buffer. What finds no room is counted and dropped: a slow disk must not stop requests.
const ROOM: usize = 4 * 1024 * 1024;

/// Between two collections.
const PAUSE: Duration = Duration::from_millis(100);

type Buffer = Arc<Mutex<Vec<u8>>>;

/// The thread that collects.
#[derive(Debug)]
struct Writer {
    stop: SyncSender<()>,
    ended: Mutex<Receiver<()>>,
}

/// How long the last lines may take at the end: a reader that reads no more must not keep the process alive.
const FAREWELL: Duration = Duration::from_secs(2);

/// The running log.
#[derive(Debug)]
pub struct AccessLog {
    buffers: Vec<Buffer>,
    dropped: IntCounter,
    writer: Option<Writer>,
}

impl AccessLog {
    /// Opens the sink and starts the writer.
    ///
    /// # Errors
    /// The system's, where the file cannot be opened.
    pub fn start(config: &AccessLogConfig, workers: usize, dropped: IntCounter) -> io::Result<Self> {
        let sink: Box<dyn Write + Send> = match &config.to {
            Sink::Off => return Ok(Self { buffers: Vec::new(), dropped, writer: None }),
            Sink::Stdout => Box::new(io::stdout()),
            Sink::Stderr => Box::new(io::stderr()),
            Sink::File(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
        };
        let buffers: Vec<Buffer> = (0..workers).map(|_| Buffer::default()).collect();
        let (stop, stopped) = sync_channel(1);
        let (end, ended) = sync_channel(1);
        let collected = buffers.clone();
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            let mut sink = sink;
            let mut lines = Vec::new();
            while stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                collect(&collected, &mut lines, &mut sink);
            }
            collect(&collected, &mut lines, &mut sink);
            let _ = end.send(());
        })?;
        Ok(Self { buffers, dropped, writer: Some(Writer { stop, ended: Mutex::new(ended) }) })
    }

    /// Whether lines are written at all.
    pub fn is_on(&self) -> bool {
        self.writer.is_some()
    }

    /// Writes down one request, or counts it as dropped.
    pub fn write(&self, worker: usize, line: &Line<'_>) {
        let Some(buffer) = self.buffers.get(worker) else { return };
        let mut buffer = buffer.lock();
        let before = buffer.len();
        if before >= ROOM || serde_json::to_writer(&mut *buffer, line).is_err() {
            buffer.truncate(before);
            self.dropped.inc();
            return;
        }
        buffer.push(b'\n');
    }
}

fn collect(buffers: &[Buffer], lines: &mut Vec<u8>, sink: &mut dyn Write) {
    for buffer in buffers {
        lines.clear();
        std::mem::swap(lines, &mut buffer.lock());
        if !lines.is_empty()
            && let Err(error) = sink.write_all(lines).and_then(|()| sink.flush())
        {
            log::error!("the access log cannot be written: {error}");
        }
        if lines.capacity() > ROOM / 4 {
            *lines = Vec::new();
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        if let Some(Writer { stop, ended }) = self.writer.take() {
            drop(stop);
            let _ = ended.into_inner().recv_timeout(FAREWELL);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn lines_are_complete_json_and_none_is_lost_at_the_end() {
        let path = std::env::temp_dir().join(format!("tidegate-access-{}", std::process::id()));
        let dropped = IntCounter::new("dropped", "dropped").unwrap();
        let log = AccessLog::start(&AccessLogConfig { to: Sink::File(path.clone()) }, 2, dropped.clone()).unwrap();
        for worker in 0..2 {
            let cx = Ctx::new(HeaderValue::from_static("a\"b"));
            let line = Line { status: 200, ..Line::of(&cx, SystemTime::UNIX_EPOCH, Instant::now(), None) };
            log.write(worker, &line);
        }
        drop(log);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        assert_eq!(text.lines().count(), 2);
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(line["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!(dropped.get(), 0);
    }
}
