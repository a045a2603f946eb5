//! What benchmarks of policies stand on: a config, built as the gateway builds it, and a request on its way down.

use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http::HeaderValue;
use pingora_http::RequestHeader;
use tidegate::ctx::{Ctx, Params};
use tidegate::observe::Metrics;
use tidegate::policy::{Chain, Flow};
use tidegate::snapshot::Snapshot;
use tidegate::state::Shared;
use tidegate::upstream::Client;

/// Everything that a config says, with these files beside it.
pub fn snapshot(config: &str, files: &[(&str, String)]) -> Snapshot {
    let folder = std::env::temp_dir().join(format!("tidegate-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    files.iter().for_each(|(name, text)| std::fs::write(folder.join(name), text).unwrap());
    let path = folder.join("tidegate.yaml");
    std::fs::write(&path, config).unwrap();
    let built = tidegate::reload::build(&path, &Shared::default()).unwrap_or_else(|errors| panic!("{errors}"));
    std::fs::remove_dir_all(folder).unwrap();
    built.snapshot
}

/// A GET with what clients say, and these headers.
pub fn request(target: &str, headers: &[(&'static str, &str)]) -> RequestHeader {
    let mut request = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
    let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    for (name, value) in [("Host", "api.example.com"), ("User-Agent", agent), ("Accept", "*/*")].iter().chain(headers) {
        request.append_header(*name, *value).unwrap();
    }
    request
}

/// What is known of a request for this path, whose last segment is the parameter `id`.
pub fn ctx(path: &str) -> Ctx {
    let place = |index: usize| u32::try_from(index).unwrap();
    let id = place(path.rfind('/').unwrap() + 1)..place(path.len());
    Ctx {
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        host: "api.example.com".into(),
        path: path.into(),
        params: Params { names: ["id".into()].into(), ranges: std::iter::once(id).collect() },
        ..Ctx::new(HeaderValue::from_static("0123456789abcdef0123456789abcdef"))
    }
}

/// What others are asked over.
pub fn client() -> Arc<Client> {
    Arc::new(Client::new(Metrics::new(1).unwrap().shards()[0].clone(), 1))
}

/// The way down, which here never waits, and how deep it led; none where the request may not go on.
pub fn down(chain: &Chain, req: &mut RequestHeader, cx: &mut Ctx, client: &Arc<Client>) -> Option<usize> {
    let mut depth = 0;
    let ready = pin!(chain.request(req, cx, &mut depth, client)).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(answer) = ready else { panic!("it waits") };
    matches!(answer, Ok(Flow::Next)).then_some(depth)
}
