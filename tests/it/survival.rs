//! Targets that are killed, freeze and come back under constant load: real servers, and clients that never stop asking.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::{Client, Gateway, Nginx, Origin, eventually};

/// How long a target may take; who waits longer than that was sent to a frozen one.
const RESPONSE: Duration = Duration::from_millis(500);

/// Clients of the service with the targets that die.
const CLIENTS: usize = 4;

#[derive(Default)]
struct Counts {
    /// Answers of each target.
    by: [AtomicUsize; 3],
    /// Answers of the service whose targets are well.
    others: AtomicUsize,
    /// Anything but 200, of either service.
    failed: AtomicUsize,
    failed_others: AtomicUsize,
    /// Answers that took as long as a target may.
    slow: AtomicUsize,
    over: AtomicBool,
}

impl Counts {
    fn all(&self) -> usize {
        self.by.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Asks for one path until all is over.
    fn load(&self, gateway: &Gateway, path: &str) {
        let mut client = gateway.client();
        while !self.over.load(Ordering::Relaxed) {
            let asked = Instant::now();
            client.send(format!("GET {path} HTTP/1.1\r\nHost: gateway.test\r\n\r\n"));
            let (answered, failed) = if path == "/up" { (None, &self.failed) } else { (Some(&self.others), &self.failed_others) };
            match client.try_read() {
                Ok(answer) if answer.status == 200 => {
                    let by = || &self.by[answer.text().parse::<usize>().unwrap()];
                    answered.unwrap_or_else(by).fetch_add(1, Ordering::Relaxed);
                }
                Ok(_) => drop(failed.fetch_add(1, Ordering::Relaxed)),
                Err(_) => {
                    failed.fetch_add(1, Ordering::Relaxed);
                    client = Client::connect(gateway.address);
                }
            }
            if path == "/up" && asked.elapsed() >= RESPONSE {
                self.slow.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Waits until this target answers again.
    fn await_answers(&self, target: usize) {
        let before = self.by[target].load(Ordering::Relaxed);
        eventually("the target answers again", || (self.by[target].load(Ordering::Relaxed) > before + 10).then_some(()));
    }
}

fn start(target: usize) -> String {
    format!("location / {{ return 200 \"{target}\"; }}")
}

/// What happens while one target is killed and comes back, then another freezes and goes on. `series` with the target's address tells with `gone` that it
/// gets no requests.
fn survive(name: &str, settings: &str, series: &str, gone: f64) {
    let mut servers = [0, 1, 2].map(|target| Nginx::start(&start(target)));
    let other = Origin::start();
    let targets = servers.each_ref().map(|server| format!("\"http://{}\"", server.address)).join(", ");
    let gateway = Gateway::start(&format!(
        "services:
  up:
    targets: [{targets}]
    timeouts: {{ response: 500ms }}
    retry: {{ attempts: 2, on: [connect, reset, timeout], budget: 100% }}
    {settings}
  other: {{ targets: [\"http://{}\"] }}
routes:
  - {{ name: up, match: {{ path: /up }}, to: up }}
  - {{ name: other, match: {{ path: /other }}, to: other }}
",
        other.address
    ));
    let counts = Counts::default();
    let await_standing = |server: &Nginx, value: f64| {
        let begun = Instant::now();
        gateway.await_metric(&series.replace("{}", &server.address.to_string()), value);
        begun.elapsed()
    };
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| counts.load(&gateway, "/up"));
        }
        scope.spawn(|| counts.load(&gateway, "/other"));
        let _ends = End(&counts.over);
        (0..3).for_each(|target| counts.await_answers(target));

        let (failed, asked) = (counts.failed.load(Ordering::Relaxed), counts.all());
        servers[0].kill();
        let left = await_standing(&servers[0], gone);
        servers[0] = Nginx::start_at(servers[0].address, "", &start(0));
        let back = await_standing(&servers[0], 1.0 - gone);
        counts.await_answers(0);
        let failed = counts.failed.load(Ordering::Relaxed) - failed;
        eprintln!("{name}, killed: noticed in {left:?}, back in {back:?}, {failed} of {} requests failed", counts.all() - asked);
        assert_eq!(failed, 0, "what broke off was sent again");

        let (slow, asked) = (counts.slow.load(Ordering::Relaxed), counts.all());
        servers[1].signal(Signal::SIGSTOP);
        let left = await_standing(&servers[1], gone);
        let late = counts.slow.load(Ordering::Relaxed) - slow;
        // While it is frozen the others have all.
        let before = counts.all();
        eventually("the others answer", || (counts.all() > before + 200).then_some(()));
        servers[1].signal(Signal::SIGCONT);
        let back = await_standing(&servers[1], 1.0 - gone);
        counts.await_answers(1);
        let slow = counts.slow.load(Ordering::Relaxed) - slow;
        let failed = counts.failed.load(Ordering::Relaxed);
        eprintln!(
            "{name}, frozen: noticed in {left:?} ({late} requests late by then), back in {back:?}, {slow} of {} requests late, {failed} failed",
            counts.all() - asked
        );
        assert_eq!(failed, 0, "who was late was sent again");
        // Until it is noticed each client is held up a few times; then, at most, those that try it.
        assert!(slow <= 5 * CLIENTS, "{slow}");
        assert_eq!(counts.failed_others.load(Ordering::Relaxed), 0);
        eprintln!("{name}, the other service: {} requests, none failed", counts.others.load(Ordering::Relaxed));
    });
    assert!(counts.others.load(Ordering::Relaxed) > 0);
}

/// Ends the load, also where a test fails: the threads would be waited for.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn active_checks_keep_requests_from_targets_that_die_or_freeze() {
    let health = "health: { path: /healthz, interval: 200ms, timeout: 200ms, healthy: 2, unhealthy: 2 }";
    survive("active checks", health, "tidegate_target_healthy{service=\"up\",target=\"{}\"}", 0.0);
}

#[test]
fn ejection_keeps_requests_from_targets_that_die_or_freeze() {
    let ejection = "ejection: { failures: 3, for: 500ms, max_for: 1s }";
    survive("ejection", ejection, "tidegate_target_ejected{service=\"up\",target=\"{}\"}", 1.0);
}
