use std::collections::HashSet;

use super::*;

#[test]
fn what_the_workers_count_is_added_up() {
    let metrics = Metrics::new(2).unwrap();
    for worker in 0..2 {
        let shard = &metrics.shards()[worker];
        shard.requests.with_label_values(&["users", "200"]).inc();
        shard.duration.with_label_values(&["users"]).observe(0.002);
    }
    metrics.shards()[1].requests.with_label_values(&["users", "404"]).inc();
    let text = metrics.render().unwrap();
    for line in [
        "tidegate_requests_total{route=\"users\",status=\"200\"} 2",
        "tidegate_requests_total{route=\"users\",status=\"404\"} 1",
        "tidegate_request_duration_seconds_bucket{route=\"users\",le=\"0.0025\"} 2",
        "tidegate_request_duration_seconds_count{route=\"users\"} 2",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert_eq!(text.matches("# TYPE tidegate_requests_total").count(), 1);
}

#[test]
fn so_many_consumers_have_series_and_the_others_one_together() {
    let metrics = Metrics::new(2).unwrap();
    let series = || metrics.render().unwrap().lines().filter(|line| line.starts_with("tidegate_consumer_requests_total{")).count();
    for round in 0..2 {
        for number in 0..2000 {
            metrics.shards()[(number + round) % 2].consumers.count(&format!("c{number}"), 200);
        }
    }
    let text = metrics.render().unwrap();
    assert_eq!(series(), 1001, "{text}");
    for line in ["{class=\"2xx\",consumer=\"c0\"} 2", "{class=\"2xx\",consumer=\"c999\"} 2", "{class=\"2xx\",consumer=\"(others)\"} 2000"] {
        assert!(text.contains(&format!("tidegate_consumer_requests_total{line}")), "{line} is not in\n{text}");
    }
    metrics.keep_consumers(|name| name == "c7");
    metrics.shards()[0].consumers.count("new", 503);
    let text = metrics.render().unwrap();
    assert_eq!(series(), 3, "{text}");
    for left in ["consumer=\"c7\"} 2", "{class=\"5xx\",consumer=\"new\"} 1", "consumer=\"(others)\"} 2000"] {
        assert!(text.contains(left), "{left} is not in\n{text}");
    }
}

#[test]
fn what_is_gone_is_forgotten_and_nothing_else() {
    let metrics = Metrics::new(2).unwrap();
    for shard in metrics.shards() {
        for route in ["kept", "gone"] {
            shard.requests.with_label_values(&[route, "0"]).inc();
            shard.duration.with_label_values(&[route]).observe(0.1);
            shard.upstream_duration.with_label_values(&[route]).observe(0.1);
            shard.retries.with_label_values(&[route, "connect"]).inc();
        }
    }
    for (service, target) in [("kept", "a"), ("kept", "gone"), ("gone", "a")] {
        metrics.process.ejected.with_label_values(&[service, target]).set(1);
        metrics.process.healthy.with_label_values(&[service, target]).set(1);
        metrics.process.checks.with_label_values(&[service, target, "passed"]).inc();
        metrics.process.tokens.refreshes.with_label_values(&[service, "client", target, "", "renewed"]).inc();
        metrics.process.tokens.ends.with_label_values(&[service, "client", target, ""]).set(1);
    }
    let one = || HashSet::from(["kept"]);
    for service in ["kept", "gone"] {
        metrics.process.breakers.with_label_values(&[service]).set(1);
        metrics.process.jwks.refreshes.with_label_values(&[service, "renewed"]).inc();
        metrics.process.jwks.keys.with_label_values(&[service]).set(2);
    }
    let target = || HashSet::from([("kept", "a")]);
    let all = || Kept {
        routes: one(),
        services: one(),
        names: one(),
        sources: one(),
        tokens: HashSet::from([["kept", "client", "a", ""]]),
        breakers: one(),
        ejected: target(),
        checked: target(),
    };
    metrics.keep(&all());
    let text = metrics.render().unwrap();
    assert!(text.contains("tidegate_requests_total{route=\"kept\",status=\"0\"} 2"), "{text}");
    assert!(text.contains("tidegate_retries_total{reason=\"connect\",service=\"kept\"} 2"), "{text}");
    assert_eq!(text.matches("service=\"kept\",target=\"a\"").count(), 3, "{text}");
    assert!(!text.contains("gone") && text.contains("tidegate_breaker_open{service=\"kept\"} 1"), "{text}");
    assert!(text.contains("tidegate_jwks_keys{source=\"kept\"} 2"), "{text}");
    assert!(text.contains("tidegate_token_expiry_seconds{audience=\"\",client=\"client\",scope=\"a\",source=\"kept\"} 1"), "{text}");
    metrics.keep(&Kept { ejected: HashSet::new(), ..all() });
    let text = metrics.render().unwrap();
    assert!(!text.contains("tidegate_target_ejected{") && text.contains("tidegate_target_healthy{"), "{text}");
    metrics.keep(&Kept { checked: HashSet::new(), breakers: HashSet::new(), ..all() });
    let text = metrics.render().unwrap();
    for gone in ["tidegate_target_healthy{", "tidegate_target_checks_total{", "tidegate_breaker_open{"] {
        assert!(!text.contains(gone), "{gone} is in\n{text}");
    }
}
