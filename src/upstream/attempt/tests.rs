use std::time::Duration as Time;

use http::StatusCode;

use super::*;

const GET: Attempted<'_> = Attempted {
    method: &Method::GET,
    keyed: false,
    replayable: true,
    count: 1,
    aged: 0,
    tried: 1,
    targets: 2,
    left: Time::from_secs(10),
    retry_after: None,
};

const POST: Attempted<'_> = Attempted { method: &Method::POST, ..GET };

fn retry(json: &str) -> Retry {
    Retry::build(Some(&serde_json::from_str(json).unwrap()), "a", &Shared::default()).unwrap()
}

fn status(code: u16) -> Failure {
    Failure::Status(StatusCode::from_u16(code).unwrap())
}

#[test]
fn what_is_safe_is_sent_again_and_what_is_not_only_if_it_was_never_on_its_way() {
    let retry = retry("{}");
    for failure in [Failure::Connect, Failure::Reset, Failure::Stale] {
        assert!(retry.next(failure, &GET).is_some(), "{failure:?}");
        assert_eq!(retry.next(failure, &POST).is_some(), failure == Failure::Connect, "{failure:?}");
        assert!(retry.next(failure, &Attempted { keyed: true, ..POST }).is_some(), "{failure:?}");
    }
    for failure in [Failure::Timeout, Failure::Malformed, status(503)] {
        assert_eq!(retry.next(failure, &GET), None, "{failure:?}");
    }
}

#[test]
fn what_nobody_looked_at_may_always_be_sent_again() {
    let retry = retry("{}");
    for failure in [Failure::Leaving, Failure::Refused] {
        assert!(retry.next(failure, &POST).is_some(), "{failure:?}");
        assert_eq!(retry.next(failure, &Attempted { replayable: false, ..POST }), None, "{failure:?}");
    }
    let unasked = Retry::build(None, "b", &Shared::default()).unwrap();
    let nowhere_else = Attempted { tried: 2, ..POST };
    assert!(unasked.next(Failure::Leaving, &nowhere_else).is_some(), "the target is there; its connection is not");
    assert_eq!(unasked.next(Failure::Refused, &nowhere_else), None);
}

#[test]
fn methods_are_widened_by_a_word_or_a_list() {
    let put = Attempted { method: &Method::PUT, ..GET };
    for (methods, get, put_too, post) in [
        ("\"safe\"", true, false, false),
        ("\"idempotent\"", true, true, false),
        ("\"any\"", true, true, true),
        ("[\"POST\"]", false, false, true),
    ] {
        let retry = retry(&format!("{{\"methods\": {methods}}}"));
        let says = [&GET, &put, &POST].map(|request| retry.next(Failure::Reset, request).is_some());
        assert_eq!(says, [get, put_too, post], "{methods}");
    }
}

#[test]
fn a_body_that_is_gone_cannot_be_sent_again() {
    for failure in [Failure::Connect, Failure::Reset] {
        assert_eq!(retry("{}").next(failure, &Attempted { replayable: false, ..GET }), None);
    }
}

#[test]
fn attempts_end_with_their_number_and_with_the_time() {
    let retry = retry("{\"attempts\": 3, \"on\": [\"5xx\", 429]}");
    for (count, again) in [(1, true), (2, true), (3, false)] {
        assert_eq!(retry.next(status(500), &Attempted { count, ..GET }).is_some(), again);
    }
    assert_eq!(retry.next(status(500), &Attempted { left: Time::ZERO, ..GET }), None);
    assert!(retry.next(status(429), &GET).is_some());
    assert_eq!(retry.next(status(404), &GET), None);
    assert_eq!(self::retry("{\"attempts\": 1}").next(Failure::Stale, &GET), None);
}

#[test]
fn a_wait_that_the_target_asks_for_is_kept_where_it_fits() {
    let retry = retry("{\"on\": [503]}");
    let asks = |seconds| retry.next(status(503), &Attempted { retry_after: Some(Time::from_secs(seconds)), ..GET });
    assert_eq!(asks(3), Some(Time::from_secs(3)));
    assert_eq!(asks(10), None);
}

#[test]
fn waits_grow_up_to_their_bound_and_differ() {
    let retry = retry("{\"attempts\": 10, \"backoff\": {\"base\": \"10ms\", \"max\": \"50ms\"}}");
    for (count, most) in [(1, 10), (2, 20), (3, 40), (4, 50), (9, 50)] {
        let waits: Vec<_> = (0..200).map(|_| retry.backoff(count)).collect();
        assert!(waits.iter().all(|wait| *wait <= Time::from_millis(most)), "{waits:?}");
        assert!(
            waits.iter().any(|wait| *wait > Time::from_millis(most / 2)) && waits.iter().any(|wait| *wait < Time::from_millis(most / 2))
        );
    }
    assert_eq!(retry.next(Failure::Stale, &GET), Some(Time::ZERO));
}

#[test]
fn a_service_that_always_fails_gets_a_fifth_more_at_most() {
    let retry = retry("{\"attempts\": 10}");
    let mut again = 0;
    for _ in 0..1000 {
        retry.begin();
        again += (1..10).filter(|count| retry.next(Failure::Reset, &Attempted { count: *count, ..GET }).is_some()).count();
    }
    assert_eq!(again, 200);
}

#[test]
fn a_service_with_little_to_do_has_its_retries_and_keeps_its_count() {
    let shared = Shared::default();
    let config = RetryConfig { budget: Percent::new(0), ..RetryConfig::default() };
    let retry = Retry::build(Some(&config), "a", &shared).unwrap();
    let granted = |retry: &Retry| (0..20).filter(|_| retry.next(Failure::Reset, &GET).is_some()).count();
    assert_eq!(granted(&retry), 10);
    assert_eq!(granted(&Retry::build(Some(&config), "a", &shared).unwrap()), 0);
}

#[test]
fn without_a_word_of_the_user_only_what_can_do_no_harm_is_sent_again() {
    let retry = Retry::build(None, "a", &Shared::default()).unwrap();
    assert!(retry.next(Failure::Connect, &POST).is_some());
    assert_eq!(retry.next(Failure::Connect, &Attempted { tried: 2, ..GET }), None);
    assert!(retry.next(Failure::Stale, &Attempted { tried: 2, ..GET }).is_some());
    assert_eq!(retry.next(Failure::Stale, &Attempted { aged: 4, ..GET }), None, "not for ever");
    assert_eq!(retry.next(Failure::Stale, &POST), None);
    assert_eq!(retry.next(Failure::Reset, &GET), None);
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let wrong = |json: &str| Retry::build(Some(&serde_json::from_str(json).unwrap()), "a", &Shared::default()).unwrap_err();
    assert!(wrong("{\"attempts\": 0}").to_string().starts_with("attempts: 0 is no number of attempts (write 1 to 10"));
    assert!(wrong("{\"attempts\": 11}").to_string().starts_with("attempts: "));
    assert!(wrong("{\"backoff\": {\"base\": \"1s\"}}").to_string().starts_with("backoff.max: "));
    for json in [
        "{\"on\": [\"refused\"]}",
        "{\"on\": [200]}",
        "{\"methods\": \"all\"}",
        "{\"methods\": [\"get\"]}",
        "{\"budget\": 20}",
        "{\"attempt\": 2}",
    ] {
        assert!(serde_json::from_str::<RetryConfig>(json).is_err(), "{json}");
    }
}
