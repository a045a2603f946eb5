//! The life of the process: start, reload, drain, end; and what operators see of it.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::gateway::Folder;
use crate::support::{Client, End, Gateway, Origin, PATIENCE, RawOrigin, eventually};

/// An upstream that tells when it was asked, sends half of its answer, and the other half when it is told to.
struct Halves {
    origin: RawOrigin,
    asked: mpsc::Receiver<()>,
    go_on: mpsc::Sender<()>,
}

impl Halves {
    fn start() -> Self {
        let ((tell, asked), (go_on, wait)) = (mpsc::channel(), mpsc::channel());
        let (tell, wait) = (Mutex::new(tell), Mutex::new(wait));
        let origin = RawOrigin::start(move |mut talk| {
            while talk.request().is_some() {
                talk.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
                tell.lock().unwrap().send(()).unwrap();
                if wait.lock().unwrap().recv().is_err() {
                    return;
                }
                talk.say("after");
            }
        });
        Self { origin, asked, go_on }
    }

    fn was_asked(&self) {
        self.asked.recv_timeout(PATIENCE).unwrap();
    }
}

fn config(up: SocketAddr, drain: &str, reply: &str) -> String {
    format!(
        r#"
server:
  timeouts: {{ drain: {drain} }}
services:
  up: {{ targets: ["http://{up}"] }}
routes:
  - {{ name: up, match: {{ path: "/up/{{rest...}}" }}, to: up }}
  - {{ name: here, match: {{ path: /here }}, reply: {{ text: "{reply}" }} }}
"#
    )
}

/// Waits until nobody accepts connections any more.
fn refuses(address: SocketAddr) {
    let error = eventually("the listener is closed", || TcpStream::connect(address).err());
    assert!(matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset), "{error}");
}

#[test]
fn sigterm_lets_a_request_under_way_come_to_its_end() {
    let up = Halves::start();
    let mut gateway = Gateway::start(&config(up.origin.address, "60s", "a"));
    let mut idle = gateway.client();
    assert_eq!(idle.get("/here").status, 200);
    let mut client = gateway.client();
    client.send("GET /up/a HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
    up.was_asked();
    assert_eq!(gateway.ask("/readyz").0, 200);

    gateway.terminate();
    refuses(gateway.address);
    assert_eq!(idle.ends(), End::Closed, "an idle connection has nothing to wait for");
    assert_eq!(gateway.ask("/readyz").0, 503, "no more requests are wanted");
    assert_eq!(gateway.ask("/healthz").0, 200, "the process lives to the end");
    assert!(gateway.runs());

    up.go_on.send(()).unwrap();
    let answer = client.read();
    assert_eq!((answer.status, answer.text().as_str()), (200, "firstafter"));
    assert_eq!(client.ends(), End::Closed);
    assert_eq!(gateway.ended().code(), Some(0), "{}", gateway.said());
    assert_eq!(gateway.log().iter().filter(|line| line["path"] == "/up/a" && line["status"] == 200).count(), 1, "no line is lost");
}

#[test]
fn a_drain_lasts_no_longer_than_it_may() {
    let up = Halves::start();
    let mut gateway = Gateway::start(&config(up.origin.address, "300ms", "a"));
    let mut client = gateway.client();
    client.send("GET /up/a HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
    up.was_asked();
    let start = Instant::now();
    gateway.terminate();
    assert_eq!(gateway.ended().code(), Some(0), "{}", gateway.said());
    assert!(start.elapsed() >= Duration::from_millis(300));
    gateway.await_said("1 connections were cut off");
    client.try_read().expect_err("the answer was not whole");
}

#[test]
fn a_request_that_is_still_coming_is_answered_during_the_drain() {
    let up = Origin::start();
    let mut gateway = Gateway::start(&config(up.address, "60s", "a"));
    let mut client = gateway.client();
    client.send("POST /up/a HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().status, 100);
    gateway.terminate();
    refuses(gateway.address);
    client.send("hello");
    assert_eq!(client.read().text(), "here");
    assert_eq!(client.ends(), End::Closed);
    assert_eq!(gateway.ended().code(), Some(0));
    assert_eq!(&up.only().body[..], b"hello");
}

#[test]
fn sigint_ends_the_process_at_once() {
    let up = Halves::start();
    let mut gateway = Gateway::start(&config(up.origin.address, "60s", "a"));
    let mut client = gateway.client();
    client.send("GET /up/a HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
    up.was_asked();
    // Longer than a failing test waits would be the drain, so that the end shows that there was none.
    gateway.signal(Signal::SIGINT);
    assert_eq!(gateway.ended().code(), Some(0), "{}", gateway.said());
    client.try_read().expect_err("the answer was not whole");
}

#[test]
fn a_config_is_taken_when_its_file_is_replaced_and_on_sighup() {
    let up = Origin::start();
    let gateway = Gateway::start(&config(up.address, "1s", "one"));
    let mut client = gateway.client();
    assert_eq!(client.get("/here").text(), "one");
    assert_eq!(gateway.metric("tidegate_config_generation"), 1.0);
    assert_eq!(gateway.rewrite(&config(up.address, "1s", "two")), "done");
    assert_eq!(client.get("/here").text(), "two", "on the same connection");
    assert_eq!(gateway.metric("tidegate_config_generation"), 2.0);
    gateway.await_said("routes: ~here");
    assert_eq!(gateway.reload(), "unchanged");
    assert_eq!(gateway.metric("tidegate_config_generation"), 2.0);
}

#[test]
fn a_request_under_way_keeps_the_config_that_it_began_with() {
    let up = Halves::start();
    let gateway = Gateway::start(&config(up.origin.address, "1s", "one"));
    let mut client = gateway.client();
    client.send("GET /up/a HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
    up.was_asked();
    assert_eq!(
        gateway.rewrite("routes: [{ name: other, match: { path: /other }, reply: { status: 204 } }]\n"),
        "refused",
        "`server:` differs"
    );
    assert_eq!(
        gateway.rewrite("server:\n  timeouts: { drain: 1s }\nroutes: [{ name: other, match: { path: /other }, reply: { status: 204 } }]\n"),
        "done"
    );
    assert_eq!(gateway.client().get("/up/b").status, 404);
    up.go_on.send(()).unwrap();
    assert_eq!(client.read().text(), "firstafter");
    assert_eq!(client.get("/up/b").status, 404, "the next request has the new one");
    assert_eq!(gateway.await_log("the request under way", |line| line["path"] == "/up/a")["route"], "up");
}

#[test]
fn a_config_that_is_refused_is_told_and_the_present_one_goes_on() {
    let up = Origin::start();
    let gateway = Gateway::start(&config(up.address, "1s", "one"));
    let mut client = gateway.client();
    assert_eq!(gateway.rewrite(&config(up.address, "1s", "two").replace("name: here", "nam: here")), "refused");
    assert_eq!(client.get("/here").text(), "one");
    let said = gateway.await_said("1 error");
    let file = std::fs::read_to_string(gateway.folder.path().join("tidegate.yaml")).unwrap();
    let line = file.lines().position(|line| line.contains("nam: here")).unwrap() + 1;
    assert!(said.contains("the present one stays"), "{said}");
    assert!(
        said.contains(&format!("tidegate.yaml:{line}:7: routes[1].nam: "))
            && said.contains("unknown key `nam`")
            && said.contains("did you mean `name`?"),
        "{said}"
    );
    assert_eq!(gateway.metric("tidegate_reloads_total{result=\"refused\"}"), 1.0);
    assert_eq!(gateway.rewrite(&config(up.address, "1s", "three")), "done");
    assert_eq!(client.get("/here").text(), "three");
}

#[test]
fn a_date_that_http_cannot_write_is_refused_and_reloading_goes_on() {
    let with = |sunset: &str| {
        format!(
            "services: {{ s: {{ mock: {{ text: here }} }} }}\nroutes:\n  - {{ name: a, match: {{ path: /a }}, versions: {{ from: {{ header: X-V }}, default: v1, v1: {{ to: s, sunset: \"{sunset}\" }} }} }}\n"
        )
    };
    let gateway = Gateway::start(&with("2099-01-01"));
    assert_eq!(gateway.rewrite(&with("9999-12-31T23:59:59-01:00")), "refused");
    gateway.await_said("is not between 1970 and 9999");
    assert_eq!(gateway.rewrite(&with("2000-01-01")), "done");
    gateway.client().get("/a").problem(410, "gone");
}

#[test]
fn a_change_of_what_is_bound_at_start_is_refused() {
    let up = Origin::start();
    let gateway = Gateway::start(&config(up.address, "1s", "one"));
    assert_eq!(gateway.rewrite(&config(up.address, "2s", "two")), "refused");
    assert_eq!(gateway.client().get("/here").text(), "one");
    let said = gateway.await_said("needs an upgrade");
    assert!(said.contains("`server:`"), "{said}");
}

#[test]
fn operators_see_whether_it_lives_and_what_it_counts() {
    let up = Origin::start();
    let gateway = Gateway::start(&config(up.address, "1s", "one"));
    let mut client = gateway.client();
    client.send("POST /up/a HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.read().status, 200);
    client.get("/nowhere").problem(404, "not-found");
    assert_eq!(gateway.ask("/healthz"), (200, "alive\n".to_owned()));
    assert_eq!(gateway.ask("/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(gateway.ask("/else").0, 404);
    for (series, value) in [
        ("tidegate_requests_total{route=\"up\",status=\"200\"}", 1.0),
        ("tidegate_problems_total{kind=\"not-found\",policy=\"\"}", 1.0),
        ("tidegate_received_bytes_total{route=\"up\"}", 5.0),
        ("tidegate_sent_bytes_total{route=\"up\"}", 4.0),
        ("tidegate_request_duration_seconds_count{route=\"up\"}", 1.0),
        ("tidegate_upstream_duration_seconds_count{service=\"up\"}", 1.0),
        ("tidegate_connections{worker=\"0\"}", 1.0),
        ("tidegate_connections{worker=\"1\"}", 0.0),
        ("tidegate_access_log_dropped_total", 0.0),
    ] {
        gateway.await_metric(series, value);
    }
    drop(client);
    gateway.await_metric("tidegate_connections{worker=\"0\"}", 0.0);
    let (_, text) = gateway.ask("/metrics");
    assert!(text.contains("tidegate_info{version=\"") && text.contains("# HELP tidegate_requests_total "), "{text}");
}

#[test]
fn connections_are_spread_over_the_workers_to_within_one() {
    let up = Origin::start();
    let gateway = Gateway::start(&config(up.address, "1s", "one"));
    let held = || ["0", "1"].map(|worker| gateway.metric(&format!("tidegate_connections{{worker=\"{worker}\"}}")));
    let mut clients: Vec<_> = (0..9).map(|_| gateway.client()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/here").status, 200));
    let [one, other] = held();
    assert_eq!((one + other, (one - other).abs()), (9.0, 1.0));
    // Those of one worker leave; the next ones fill it up again.
    let mut index = 0;
    clients.retain(|_| {
        index += 1;
        index % 2 == 0
    });
    eventually("four are left", || (held().iter().sum::<f64>() == 4.0).then_some(()));
    clients.extend((0..4).map(|_| gateway.client()));
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/here").status, 200));
    assert_eq!(held(), [4.0, 4.0]);
}

#[test]
fn a_line_of_the_access_log_tells_what_happened() {
    let up = Origin::start();
    let gateway = Gateway::start(&format!(
        r#"
consumers: [{{ name: app, api_keys: ["sha256:c48a01f49fd0f2cc404bc3cbbc80e91457a3d41bb429a695243de4c61794155c"] }}]
services: {{ up: {{ targets: ["http://{}"] }} }}
policies: [request_id]
routes:
  - name: items
    match: {{ path: "/items/{{id}}" }}
    policies: [api_key]
    versions:
      from: {{ header: X-Version }}
      default: v1
      v1: {{ to: up, path: "/v1/{{id}}" }}
"#,
        up.address
    ));
    let mut client: Client = gateway.client();
    client.send("POST /items/7?token=secret HTTP/1.1\r\nHost: Gateway.test:80\r\nX-API-Key: demo-key\r\nContent-Length: 5\r\n\r\nhello");
    let answer = client.read();
    let line = gateway.await_log("the request", |line| line["path"] == "/items/7");
    for (field, value) in [
        ("client", "127.0.0.1"),
        ("consumer", "app"),
        ("method", "POST"),
        ("host", "gateway.test"),
        ("path", "/items/7"),
        ("route", "items"),
        ("version", "v1"),
        ("service", "up"),
        ("target", up.address.to_string().as_str()),
        ("request_id", answer.header("x-request-id").unwrap()),
    ] {
        assert_eq!(line[field], value, "{field}: {line}");
    }
    assert_eq!((&line["status"], &line["received"], &line["sent"]), (&200.into(), &5.into(), &4.into()), "{line}");
    let (total, upstream) = (line["duration_ms"].as_f64().unwrap(), line["upstream_ms"].as_f64().unwrap());
    assert!(total >= upstream && upstream > 0.0, "{line}");
    let time = line["time"].as_str().unwrap();
    assert!(time.len() == 24 && time.ends_with('Z') && time.contains('T'), "{time}");
    assert!(line["problem"].is_null() && line["policy"].is_null() && line["cause"].is_null(), "{line}");
    assert!(!line.to_string().contains("secret") && !line.to_string().contains("demo-key"), "{line}");

    client.get("/items/8").problem(401, "unauthorized");
    let line = gateway.await_log("the refusal", |line| line["path"] == "/items/8");
    assert_eq!((&line["status"], &line["problem"], &line["policy"]), (&401.into(), &"unauthorized".into(), &"api_key".into()), "{line}");
    assert!(line["target"].is_null() && line["consumer"].is_null() && line["upstream_ms"].is_null(), "{line}");
}

#[test]
fn a_port_that_is_taken_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = crate::support::gateway::Folder::new();
    let address = taken.local_addr().unwrap();
    let path = folder.file("tidegate.yaml", format!("server: {{ listeners: [{{ address: \"{address}\" }}] }}\n"));
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate")).args(["run", "-c"]).arg(path).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&address.to_string()) && said.contains("in use"), "{said}");
}

#[test]
fn what_a_reload_took_away_is_forgotten_by_the_metrics() {
    let up = Origin::start();
    let config = |name: &str| {
        format!(
            "services: {{ {name}: {{ targets: [\"http://{}\"] }} }}\nroutes: [{{ name: {name}, match: {{ path: /a }}, to: {name} }}]\n",
            up.address
        )
    };
    let gateway = Gateway::start(&config("before"));
    // One on each worker.
    let mut clients = [gateway.client(), gateway.client()];
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/a").status, 200));
    gateway.await_metric("tidegate_requests_total{route=\"before\",status=\"200\"}", 2.0);
    assert_eq!(gateway.rewrite(&config("after")), "done");
    // Each worker leaves the old config with its next request.
    eventually("nothing is left of what is gone", || {
        clients.iter_mut().for_each(|client| assert_eq!(client.get("/a").status, 200));
        let (_, text) = gateway.ask("/metrics");
        (!text.contains("before") && text.contains("service=\"after\"")).then_some(())
    });
}

#[test]
fn a_log_that_nobody_reads_does_not_keep_the_process_alive() {
    let up = Origin::start();
    let folder = Folder::new();
    let path = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    // O_NONBLOCK: filled to the brim by somebody who never reads.
    let mut pipe = std::fs::OpenOptions::new().read(true).write(true).custom_flags(0o4000).open(&path).unwrap();
    let full = eventually("the pipe is full", || pipe.write_all(&[b'x'; 4096]).err());
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    let yaml = format!(
        "access_log: {{ to: \"{}\" }}\nservices: {{ up: {{ targets: [\"http://{}\"] }} }}\nroutes: [{{ name: up, to: up }}]\n",
        path.display(),
        up.address
    );
    let mut gateway = Gateway::start_in(folder, &yaml);
    assert_eq!(gateway.client().get("/a").status, 200);
    gateway.terminate();
    assert!(gateway.ended().success());
}

#[test]
fn a_config_that_cannot_be_watched_is_served_and_read_again_when_told_to() {
    let yaml = |status| format!("routes: [{{ name: a, match: {{ path: / }}, reply: {{ status: {status} }} }}]\n");
    let gateway = Gateway::start_unwatched(&yaml(200));
    gateway.await_said("changes of the config will not be noticed, and SIGHUP is needed");
    assert_eq!(gateway.client().get("/").status, 200);
    gateway.folder.file(
        "tidegate.yaml",
        std::fs::read_to_string(gateway.folder.path().join("tidegate.yaml")).unwrap().replace("status: 200", "status: 404"),
    );
    assert_eq!(gateway.reload(), "done");
    assert_eq!(gateway.client().get("/").status, 404);
}

#[test]
fn it_holds_no_huge_pages() {
    let gateway = Gateway::start("services: { up: { mock: {} } }\nroutes: [{ name: up, to: up }]\n");
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    assert!(status.contains("\nTHP_enabled:\t0\n"), "{status}");
}
