//! Targets by name: looked up beside the requests, followed when they move, and kept where they were while nobody says.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use crate::support::dns::{Record, Zone, port_at};
use crate::support::gateway::check;
use crate::support::{Answer, Dns, Gateway, Origin, PATIENCE, RawOrigin, eventually};

/// The config of a gateway before one target; what else is to be said of the service stands in `settings`.
fn config(dns: &Dns, target: &str, settings: &str) -> String {
    format!(
        "server:\n  workers: 1\ndns: {{ servers: [\"{}\"], timeout: 200ms, min_ttl: 20ms }}\nservices: {{ up: {{ targets: [{target}]{settings} }} }}\nroutes: [{{ name: up, to: up }}]\n",
        dns.address
    )
}

/// An origin that answers with the last number of its address, 127.0.0.`last`.
fn numbered(last: u8, port: u16) -> Origin {
    Origin::at(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), port)), move |_| Answer::new(last.to_string()))
}

/// The bodies of so many answers, each once, sorted.
fn answers(gateway: &Gateway, count: usize) -> Vec<String> {
    let mut client = gateway.client();
    let mut bodies: Vec<_> = (0..count)
        .map(|_| {
            let answer = client.get("/");
            assert_eq!(answer.status, 200, "{}", answer.text());
            answer.text()
        })
        .collect();
    bodies.sort_unstable();
    bodies.dedup();
    bodies
}

fn await_answers(gateway: &Gateway, wanted: &[&str]) {
    eventually(&format!("{wanted:?} answer"), || (answers(gateway, 6) == wanted).then_some(()));
}

fn lookups(gateway: &Gateway, name: &str, result: &str) -> f64 {
    gateway.metric(&format!("tidegate_dns_lookups_total{{name=\"{name}\",result=\"{result}\"}}"))
}

#[test]
fn all_addresses_of_a_name_are_used_and_the_targets_see_the_name() {
    let (dns, port) = (Dns::start(), port_at(2));
    let origins = [numbered(1, port), numbered(2, port)];
    dns.addresses("users.test", 60, &["127.0.0.1", "127.0.0.2"]);
    let gateway = Gateway::start(&config(&dns, &format!("\"http://users.test:{port}\""), ""));
    assert_eq!(answers(&gateway, 4), ["1", "2"]);
    for origin in &origins {
        assert_eq!(origin.seen().len(), 2, "each has the same share");
        assert_eq!(origin.last().header("host"), Some(&*format!("users.test:{port}")));
    }
    gateway.await_log("both targets", |line| line["target"] == format!("users.test:{port} (127.0.0.2)"));
    assert_eq!(gateway.metric("tidegate_dns_addresses{name=\"users.test\"}"), 2.0);
    assert!(gateway.metric("tidegate_dns_answered_seconds{name=\"users.test\"}") > 1.7e9);
}

#[test]
fn an_answer_is_used_for_as_long_as_its_records_say() {
    let (dns, port) = (Dns::start(), port_at(1));
    let _origin = numbered(1, port);
    dns.addresses("short.test", 1, &["127.0.0.1"]);
    dns.addresses("long.test", 3600, &["127.0.0.1"]);
    let targets = format!("\"http://short.test:{port}\", \"http://long.test:{port}\"");
    let gateway = Gateway::start(&config(&dns, &targets, ""));
    answers(&gateway, 20);
    let asked = eventually("the short one is asked for three times", || Some(dns.asked("short.test")).filter(|asked| asked.len() >= 3));
    for pair in asked.windows(2) {
        let apart = pair[1] - pair[0];
        assert!(apart >= Duration::from_millis(990) && apart < Duration::from_secs(3), "{apart:?}");
    }
    assert_eq!(dns.asked("long.test").len(), 1);
}

#[test]
fn the_bounds_of_the_config_hold_against_the_records() {
    let (dns, port) = (Dns::start(), port_at(1));
    let _origin = numbered(1, port);
    dns.addresses("long.test", 3600, &["127.0.0.1"]);
    let yaml = config(&dns, &format!("\"http://long.test:{port}\""), "").replace("min_ttl: 20ms", "min_ttl: 20ms, max_ttl: 50ms");
    let _gateway = Gateway::start(&yaml);
    eventually("it is asked for again", || (dns.asked("long.test").len() > 3).then_some(()));
    dns.addresses("short.test", 0, &["127.0.0.1"]);
    let yaml = config(&dns, &format!("\"http://short.test:{port}\""), "").replace("min_ttl: 20ms", "min_ttl: 1h, max_ttl: 1h");
    assert_eq!(answers(&Gateway::start(&yaml), 20), ["1"]);
    assert_eq!(dns.asked("short.test").len(), 1);
}

#[test]
fn a_name_that_moves_is_followed_and_what_is_under_way_ends_where_it_began() {
    let dns = Dns::start();
    let (begun, started) = mpsc::channel();
    let (go, gate) = mpsc::channel::<()>();
    let (begun, gate) = (Mutex::new(begun), Mutex::new(gate));
    let old = RawOrigin::start(move |mut talk| {
        while let Some(request) = talk.request() {
            if request.starts_with(b"GET /slow") {
                begun.lock().unwrap().send(()).unwrap();
                let _ = gate.lock().unwrap().recv_timeout(PATIENCE);
            }
            talk.say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1");
        }
    });
    let port = old.address.port();
    let _new = numbered(2, port);
    dns.addresses("users.test", 0, &["127.0.0.1"]);
    let gateway = Gateway::start(&config(&dns, &format!("\"http://users.test:{port}\""), ""));
    let mut slow = gateway.client();
    slow.send("GET /slow HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
    started.recv().unwrap();
    dns.addresses("users.test", 0, &["127.0.0.2"]);
    await_answers(&gateway, &["2"]);
    go.send(()).unwrap();
    assert_eq!(slow.read().text(), "1");
    gateway.await_said(&format!("service up: its targets are now users.test:{port} (127.0.0.2)"));
}

#[test]
fn while_nobody_answers_the_last_addresses_stay() {
    let (dns, port) = (Dns::start(), port_at(2));
    let _origins = [numbered(1, port), numbered(2, port)];
    dns.addresses("users.test", 0, &["127.0.0.1"]);
    let gateway = Gateway::start(&config(&dns, &format!("\"http://users.test:{port}\""), ""));
    for (zone, result, words) in [
        (None, "nxdomain", "the name does not exist"),
        (Some(Zone::Code(2)), "servfail", "the name server fails"),
        (Some(Zone::Code(5)), "error", "Query Refused"),
        (Some(Zone::Silence), "timeout", "no name server answers in time"),
        (Some(Zone::Records(0, Vec::new())), "no_records", "no record"),
    ] {
        let answered = gateway.said().matches("is answered again").count();
        match zone {
            Some(zone) => dns.set("users.test", zone),
            None => dns.remove("users.test"),
        }
        eventually(&format!("two lookups end with {result}"), || (lookups(&gateway, "users.test", result) >= 2.0).then_some(()));
        assert_eq!(answers(&gateway, 2), ["1"], "{result}");
        let said = gateway.await_said(words);
        assert_eq!(said.matches(words).count(), 1, "told once: {said}");
        assert!(said.contains("its last addresses stay"), "{said}");
        dns.addresses("users.test", 0, &["127.0.0.1"]);
        eventually("that is over", || (gateway.said().matches("is answered again").count() > answered).then_some(()));
    }
    dns.addresses("users.test", 0, &["127.0.0.2"]);
    await_answers(&gateway, &["2"]);
}

#[test]
fn a_service_without_an_address_yet_is_refused_with_503_until_it_has_one() {
    let (dns, port) = (Dns::start(), port_at(1));
    let _origin = numbered(1, port);
    let gateway = Gateway::start(&config(&dns, &format!("\"http://users.test:{port}\""), ""));
    let mut client = gateway.client();
    client.get("/").problem(503, "unavailable");
    let line = gateway.await_log("why", |line| line["status"] == 503);
    assert_eq!(line["cause"], "`users.test` has no address: the name does not exist (NXDOMAIN)");
    dns.addresses("users.test", 0, &["127.0.0.1"]);
    eventually("it is found", || (client.get("/").status == 200).then_some(()));
}

#[test]
fn another_service_answers_in_the_stead_of_one_without_an_address() {
    let (dns, origin) = (Dns::start(), Origin::start());
    let other = format!("services: {{ other: {{ targets: [\"http://{}\"] }},", origin.address);
    for (fallback, text) in [("to: other", "here"), ("reply: { text: closed }", "closed")] {
        let yaml = config(&dns, "\"http://users.test\"", &format!(", fallback: {{ {fallback} }}")).replace("services: {", &other);
        let gateway = Gateway::start(&yaml);
        let mut client = gateway.client();
        for _ in 0..2 {
            let answer = client.get("/");
            assert_eq!((answer.status, answer.text().as_str()), (200, text));
        }
    }
}

#[test]
fn a_silent_name_server_holds_up_neither_the_start_nor_a_reload_for_long() {
    let (dns, port) = (Dns::start(), port_at(1));
    let _origin = numbered(1, port);
    dns.addresses("users.test", 0, &["127.0.0.1"]);
    dns.set("lost.test", Zone::Silence);
    let yaml = config(&dns, &format!("\"http://users.test:{port}\""), "").replace("timeout: 200ms", "timeout: 60s");
    let gateway = Gateway::start(&yaml);
    let lost = yaml.replace("services: {", "services: { lost: { targets: [\"http://lost.test\"] },");
    assert_eq!(gateway.rewrite(&lost), "done");
    gateway.await_said("not all is known of the services' targets");
    assert_eq!(answers(&gateway, 2), ["1"]);
}

#[test]
fn what_is_known_outlives_a_reload() {
    let (dns, port) = (Dns::start(), port_at(1));
    let _origin = numbered(1, port);
    dns.addresses("users.test", 3600, &["127.0.0.1"]);
    let yaml = config(&dns, &format!("\"http://users.test:{port}\""), "");
    let gateway = Gateway::start(&yaml);
    assert_eq!(answers(&gateway, 2), ["1"]);
    dns.set("users.test", Zone::Silence);
    assert_eq!(gateway.rewrite(&yaml.replace("name: up,", "name: other,")), "done");
    assert_eq!(answers(&gateway, 2), ["1"]);
    assert_eq!(dns.asked("users.test").len(), 1, "its hour is not over");
    let other = Dns::start();
    assert_eq!(gateway.rewrite(&yaml.replace(&dns.address.to_string(), &other.address.to_string())), "done");
    eventually("other name servers are asked at once", || (!other.asked("users.test").is_empty()).then_some(()));
    assert_eq!(answers(&gateway, 2), ["1"], "and what they do not know stays");
    assert_eq!(gateway.rewrite("server:\n  workers: 1\nroutes: [{ name: up, reply: { text: here } }]\n"), "done");
    eventually("its metrics are forgotten", || {
        gateway.client().get("/");
        (!gateway.ask("/metrics").1.contains("users.test")).then_some(())
    });
}

#[test]
fn srv_records_say_hosts_ports_priorities_and_weights() {
    let (dns, port) = (Dns::start(), port_at(3));
    let heavy = numbered(1, port);
    let (light, standby) = (numbered(2, port), numbered(3, port));
    for last in 1..=3 {
        dns.addresses(&format!("n{last}.test"), 0, &[&format!("127.0.0.{last}")]);
    }
    let records =
        [Record::Service(10, 3000, port, "n1.test"), Record::Service(10, 1000, port, "n2.test"), Record::Service(20, 1, port, "n3.test")];
    dns.set("_api._tcp.users.test", Zone::Records(0, records.to_vec()));
    let gateway = Gateway::start(&config(&dns, "{ srv: \"http://_api._tcp.users.test\" }", ""));
    assert_eq!(answers(&gateway, 40), ["1", "2"]);
    let share = heavy.seen().len();
    assert!((29..=31).contains(&share), "three quarters of 40: {share}");
    assert_eq!(light.last().header("host"), Some(&*format!("n2.test:{port}")));
    assert!(standby.seen().is_empty());
    dns.set("_api._tcp.users.test", Zone::Records(0, records[2..].to_vec()));
    await_answers(&gateway, &["3"]);
    dns.set("n3.test", Zone::Code(2));
    eventually("a host of it fails", || (lookups(&gateway, "_api._tcp.users.test", "servfail") >= 1.0).then_some(()));
    assert_eq!(answers(&gateway, 2), ["3"]);
    gateway.await_said("of its host n3.test");
    dns.set("_api._tcp.users.test", Zone::Records(0, vec![Record::Service(0, 0, 0, ".")]));
    gateway.await_said("there is no such service");
}

#[test]
fn an_answer_too_large_for_a_packet_is_fetched_over_tcp() {
    let (dns, port) = (Dns::start(), port_at(1));
    let _origin = numbered(1, port);
    // Only the first priority is used, so the others need not listen.
    let first = Record::Service(0, 1, port, "n1.test");
    let others = (1..60).map(|rank| Record::Service(rank, 1, port, "a-host-with-quite-a-long-name.test"));
    dns.set("_api._tcp.users.test", Zone::Many(60, [first].into_iter().chain(others).collect()));
    for name in ["n1.test", "a-host-with-quite-a-long-name.test"] {
        dns.addresses(name, 60, &["127.0.0.1"]);
    }
    let gateway = Gateway::start(&config(&dns, "{ srv: \"http://_api._tcp.users.test\" }", ""));
    assert_eq!(answers(&gateway, 4), ["1"]);
    assert_eq!(gateway.metric("tidegate_dns_addresses{name=\"_api._tcp.users.test\"}"), 60.0);
    assert_eq!(dns.asked("a-host-with-quite-a-long-name.test").len(), 1);
}

#[test]
fn ipv6_is_used_where_there_is_no_ipv4_or_where_the_config_says_so() {
    let (dns, port) = (Dns::start(), port_at(1));
    let _four = numbered(1, port);
    let _six = Origin::at(format!("[::1]:{port}").parse().unwrap(), |_| Answer::new("six".to_owned()));
    dns.addresses("six.test", 0, &["::1"]);
    dns.addresses("both.test", 0, &["::1", "127.0.0.1"]);
    for (name, families, wanted) in [
        ("six", "prefer_ipv4", &["six"][..]),
        ("both", "prefer_ipv4", &["1"]),
        ("both", "prefer_ipv6", &["six"]),
        ("both", "ipv6", &["six"]),
        ("both", "ipv4", &["1"]),
        ("both", "both", &["1", "six"]),
        ("six", "both", &["six"]),
    ] {
        let yaml =
            config(&dns, &format!("\"http://{name}.test:{port}\""), "").replace("min_ttl:", &format!("families: {families}, min_ttl:"));
        assert_eq!(answers(&Gateway::start(&yaml), 4), wanted, "{name} {families}");
    }
}

#[test]
fn an_ejection_outlives_a_change_of_other_addresses_and_goes_with_its_own() {
    let (dns, port) = (Dns::start(), port_at(3));
    let _well = [numbered(2, port), numbered(3, port)];
    let ill = Origin::at(SocketAddr::from(([127, 0, 0, 1], port)), |_| http::Response::builder().status(503).body(String::new()).unwrap());
    dns.addresses("users.test", 0, &["127.0.0.1", "127.0.0.2"]);
    let gateway =
        Gateway::start(&config(&dns, &format!("\"http://users.test:{port}\""), ", ejection: { failures: 1, for: 1h, max_for: 1h }"));
    let mut client = gateway.client();
    let ejected = format!("tidegate_target_ejected{{service=\"up\",target=\"users.test:{port} (127.0.0.1)\"}}");
    eventually("it is ejected", || {
        client.get("/");
        (gateway.metric(&ejected) == 1.0).then_some(())
    });
    let asked = ill.seen().len();
    dns.addresses("users.test", 0, &["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
    await_answers(&gateway, &["2", "3"]);
    assert_eq!(ill.seen().len(), asked);
    dns.addresses("users.test", 0, &["127.0.0.2", "127.0.0.3"]);
    eventually("nothing tells of it any more", || (!gateway.ask("/metrics").1.contains(&ejected)).then_some(()));
}

#[test]
fn what_is_no_name_or_known_here_is_never_asked_for() {
    let (dns, origin) = (Dns::start(), RawOrigin::usual());
    let port = origin.address.port();
    let targets = format!("\"http://127.0.0.1:{port}\", \"http://localhost:{port}\"");
    let gateway = Gateway::start(&config(&dns, &targets, ""));
    let mut client = gateway.client();
    (0..4).for_each(|_| assert_eq!(client.get("/").status, 200));
    gateway.await_log("the name", |line| line["target"] == format!("localhost:{port} (127.0.0.1)"));
    let (content, said) = check(&config(&dns, "\"http://users.test\", { srv: \"http://_api._tcp.users.test\" }", ""));
    assert!(content, "{said}");
    for name in ["127.0.0.1", "localhost", "users.test", "_api._tcp.users.test"] {
        assert!(dns.asked(name).is_empty(), "{name}");
    }
}

#[test]
fn settings_of_dns_that_cannot_be_are_told_with_their_place_and_their_fix() {
    for (settings, place, fix) in [
        ("servers: [ns.test]", "dns.servers[0]: `ns.test` is not the address of a name server", "like `10.0.0.53`"),
        ("servers: 10.0.0.53", "dns.servers: ", "list"),
        ("server: []", "dns.server: unknown key", "did you mean `servers`?"),
        ("timeout: 0s", "dns.timeout: this leaves no time at all", "longer"),
        ("timeout: 5", "dns.timeout: ", "`800ms`"),
        ("min_ttl: 0s", "dns.min_ttl: this leaves no time at all", "longer"),
        ("min_ttl: never", "dns.min_ttl: `never` is not a duration", "`800ms`"),
        ("min_ttl: 10s, max_ttl: 5s", "dns.max_ttl: the longest time is shorter than the shortest", "no less than `min_ttl`"),
        ("max_ttl: [1m]", "dns.max_ttl: ", "string"),
        ("families: ipv5", "dns.families: ", "prefer_ipv4"),
        ("families: 4", "dns.families: ", "prefer_ipv4"),
        ("family: ipv4", "dns.family: unknown key", "did you mean `families`?"),
    ] {
        let (content, said) = check(&format!("dns: {{ {settings} }}\n"));
        assert!(!content && said.contains(place) && said.contains(fix), "{settings}:\n{said}");
    }
}

#[test]
fn targets_that_cannot_be_are_told_with_their_place_and_their_fix() {
    for (target, place, fix) in [
        ("\"ftp://users.test\"", "`ftp://users.test` is not a target", "http://10.0.0.1:8080"),
        ("\"http://users.test/a\"", "has a path", "the route's `path:`"),
        ("\"http://me@users.test\"", "a target has no user", "Authorization"),
        ("{ srv: \"_api._tcp.users.test\" }", "is not a target", "http://_api._tcp.users.internal"),
        ("{ srv: \"http://_api._tcp.users.test:80\" }", "has a port", "remove it"),
        ("{ srv: \"http://10.0.0.1\" }", "has no SRV records", "write it as `url`"),
        ("{ srv: \"http://a.test\", weight: 2 }", "say their own weights", "remove `weight`"),
        ("{ srv: \"http://a.test\", url: \"http://a.test\" }", "a target has a `url` or a `srv`", "write one of them"),
        ("{ srv: [a] }", "srv: ", "string"),
        ("{ srvs: \"http://a.test\" }", "unknown key `srvs`", "did you mean `srv`?"),
        ("\"http://a.test\", \"http://a.test\"", "is named twice", "`weight`"),
        ("\"http://A.test:80\", \"http://a.test\"", "`http://a.test` is named twice", "`weight`"),
        ("\"https://10.0.0.1\", \"https://10.0.0.1:443\"", "`https://10.0.0.1:443` is named twice", "`weight`"),
        ("\"http://a.test#x\"", "has a fragment", "remove the `#`"),
        ("\"http://127.0.0.1:99999\"", "`127.0.0.1:99999` has no port from 1 to 65535", ":8080"),
        ("\"http://a.test:\"", "`a.test:` has no port", "remove the `:`"),
        ("\"http://a.test:0\"", "has no port", ":8080"),
        ("{ srv: \"http://a.test:\" }", "has no port", "remove the `:`"),
        ("\"http://*:80\"", "`*` is neither the name of a host nor an address", "letters, digits"),
        ("\"https://a..b\"", "`a..b` is neither", "letters, digits"),
        ("\"http://[::1%eth0]:80\"", "`[::1%eth0]:80` is neither", "an IP address"),
        ("\"unix://run/app.sock\"", "does not name a whole path", "unix:///run/app.sock"),
    ] {
        let (content, said) = check(&format!("services: {{ up: {{ targets: [{target}] }} }}\n"));
        assert!(!content && said.contains("services.up.targets[") && said.contains(place) && said.contains(fix), "{target}:\n{said}");
    }
    let long = format!("services: {{ up: {{ targets: [\"unix:///{}\"] }} }}\n", "a".repeat(107));
    assert!(check(&long).1.contains("longer than the 107 bytes"));
}
