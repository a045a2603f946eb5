//! Raw HTTP/1 requests on whose fate nginx, HAProxy and Envoy agree (`../shared/vectors/http1`), replayed against the gateway with an upstream that keeps
//! every byte. Nothing of a request that must not be forwarded may reach it; one that must, has to come as one request that can be read in one way.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::support::{Gateway, RawOrigin};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/vectors/http1/consensus.jsonl");

/// Cases that are decided otherwise, with the reason.
const OTHERWISE: [(&str, &str); 0] = [];

fn gateway(origin: &RawOrigin) -> Gateway {
    let address = origin.address;
    Gateway::start(&format!(
        "server:\n  timeouts: {{ header: 1s }}\nservices: {{ up: {{ targets: [\"http://{address}\"] }} }}\n\
         routes: [{{ name: all, match: {{ path: \"/{{rest...}}\" }}, to: up }}]"
    ))
}

/// What is wrong with how the gateway took one case; none where it did as it must.
fn replay(gateway: &Gateway, origin: &RawOrigin, raw: &[u8], forward: bool) -> Option<String> {
    let before = origin.received().len();
    let mut client = gateway.client();
    let _ = client.try_send(raw);
    client.finish();
    let (_, answer) = client.rest();
    let received = origin.received().split_off(before);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !forward {
        let reached: Vec<_> = received.iter().filter(|bytes| !bytes.is_empty()).map(|bytes| text(bytes)).collect();
        return (!reached.is_empty()).then(|| format!("this reached the upstream: {reached:?}"));
    }
    let [bytes] = received.as_slice() else {
        return Some(format!("{} connections reached the upstream; the answer: {:?}", received.len(), text(&answer)));
    };
    plain(bytes).err().map(|wrong| format!("{wrong}: {:?}", text(bytes)))
}

/// Whether these bytes are one request that can be read in one way only.
fn plain(bytes: &[u8]) -> Result<(), &'static str> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    let Ok(httparse::Status::Complete(length)) = request.parse(bytes) else { return Err("no whole header") };
    let body = &bytes[length..];
    let all = |name: &str| -> Vec<_> {
        request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value).collect()
    };
    if bytes[..length].split(|byte| *byte == b'\n').any(|line| !line.is_empty() && !line.ends_with(b"\r")) {
        return Err("a line ends without CR");
    }
    if request.headers.iter().any(|field| field.name.contains(' ') || field.value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))) {
        return Err("a field can be read in two ways");
    }
    if all("host").len() != 1 {
        return Err("not one Host");
    }
    match (all("content-length").as_slice(), all("transfer-encoding").as_slice()) {
        ([], []) if body.is_empty() => Ok(()),
        ([digits], []) => match std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<usize>().ok()) {
            Some(length) if length == body.len() => Ok(()),
            _ => Err("the body is not as long as Content-Length says"),
        },
        ([], [b"chunked"]) => match body.ends_with(b"0\r\n\r\n") && body.windows(5).filter(|window| window == b"0\r\n\r\n").count() == 1 {
            true => Ok(()),
            false => Err("the chunked body has no one end"),
        },
        _ => Err("the framing can be read in two ways"),
    }
}

#[test]
fn what_three_proxies_agree_on_is_decided_as_they_do() {
    // A connection for each request, so that the requests are told apart.
    let origin = RawOrigin::start(|mut talk| {
        if talk.request().is_some() {
            talk.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nhere");
        }
    });
    let gateway = gateway(&origin);
    let vectors = std::fs::read_to_string(VECTORS).unwrap();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for line in vectors.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let id = format!("{} {}", case["source"].as_str().unwrap(), case["id"].as_str().unwrap());
        let raw = STANDARD.decode(case["raw_base64"].as_str().unwrap()).unwrap();
        let forward = match case["verdict"].as_str().unwrap() {
            "must_forward" => true,
            "must_not_forward" => false,
            other => panic!("an unknown verdict: {other}"),
        };
        count += 1;
        let found = replay(&gateway, &origin, &raw, forward);
        match (found, OTHERWISE.iter().any(|(known, _)| *known == id)) {
            (Some(found), false) => wrong.push(format!("{id} ({}): {found}\n  {:?}", case["why"], String::from_utf8_lossy(&raw))),
            (None, true) => wrong.push(format!("{id} is listed as decided otherwise, and is not")),
            _ => {}
        }
    }
    assert_eq!(count, 130);
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(gateway.client().get("/still-here").status, 200);
}
