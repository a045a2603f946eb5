use std::collections::HashMap;

use super::*;
use crate::ctx::testing;
use crate::policy::kit::yaml;
use crate::state::InFlight;
use crate::types::Duration;

/// Of how many picks the shares are taken.
const PICKS: usize = 100_000;

const WEIGHTS: [u32; 4] = [1, 2, 3, 4];

fn urls(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("http://10.0.0.{index}:8080")).collect()
}

fn of(config: &str, urls: &[String], weights: &[u32]) -> Balance {
    let targets: Vec<_> = urls.iter().zip(weights).map(|(url, weight)| Weighed { url, weight: *weight, priority: 0 }).collect();
    Balance::build(&yaml(config).unwrap(), None, None, "users", &targets, &Shared::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn balance(config: &str, weights: &[u32]) -> Balance {
    of(config, &urls(weights.len()), weights)
}

/// How often each target was picked, each pick by a request of its own key.
fn counts(balance: &Balance, targets: usize, mut picked: impl FnMut(usize)) -> Vec<usize> {
    let mut counts = vec![0; targets];
    for pick in 0..PICKS {
        let index = balance.place(&keyed(pick)).unwrap();
        counts[index] += 1;
        picked(index);
    }
    counts
}

fn keyed(key: usize) -> Asking<'static> {
    Asking { key: Some(group::hash(&[key.to_string().as_bytes()])), ..Asking::default() }
}

fn assert_shares(counts: &[usize], weights: &[u32], what: &str) {
    let total: u32 = weights.iter().sum();
    for (count, weight) in counts.iter().zip(weights) {
        let (real, fair) = (*count as f64 / PICKS as f64, f64::from(*weight) / f64::from(total));
        // A hundredth of all: more than six standard deviations of what is drawn by lot.
        assert!((real - fair).abs() < 0.01, "{what}: {counts:?} for {weights:?}");
    }
}

const ALL: [&str; 5] = ["round_robin", "least_requests", "random", "hash: { header: X-Key }", "sticky: { cookie: at }"];

#[test]
fn each_balancer_keeps_to_the_weights() {
    for config in ALL {
        for weights in [&WEIGHTS[..], &[1, 1, 1, 1], &[7]] {
            let balance = balance(config, weights);
            assert_shares(&counts(&balance, weights.len(), |_| {}), weights, config);
        }
    }
}

#[test]
fn requests_under_way_are_spread_by_weight_too() {
    for config in ["least_requests", "sticky: { cookie: at }"] {
        let balance = balance(config, &WEIGHTS);
        let mut held = Vec::new();
        let counts = counts(&balance, WEIGHTS.len(), |index| held.push(InFlight::begin(balance.load(index).unwrap())));
        assert_shares(&counts, &WEIGHTS, config);
    }
}

#[test]
fn least_requests_leaves_a_busy_target_alone() {
    let balance = balance("least_requests", &[1, 1]);
    let _held = InFlight::begin(balance.load(0).unwrap());
    assert_eq!(counts(&balance, 2, |_| {}), [0, PICKS]);
}

#[test]
fn a_target_without_weight_is_never_picked() {
    for config in ALL {
        let balance = balance(config, &[1, 0, 1]);
        assert_eq!(counts(&balance, 3, |_| {})[1], 0, "{config}");
    }
    let sticky = balance("sticky: { cookie: at }", &[1, 0]);
    let How::Sticky(cookies) = &sticky.how else { panic!() };
    let cookie = cookies.cookie(1, false).unwrap();
    let value = cookie.to_str().unwrap().split(['=', ';']).nth(1).unwrap();
    assert_eq!(sticky.place(&Asking { cookie: Some(value.as_bytes()), ..Asking::default() }), Some(0), "not by its cookie either");
}

#[test]
fn a_target_that_was_tried_comes_last() {
    for config in ALL {
        let balance = balance(config, &[1, 1000, 1]);
        for pick in 0..1000 {
            let asking = |tried| Asking { tried, ..keyed(pick) };
            assert_ne!(balance.place(&asking(&[1])), Some(1), "{config}");
            assert_eq!(balance.place(&asking(&[1, 0])), Some(2), "{config}");
            assert!(balance.place(&asking(&[0, 1, 2])).is_some(), "{config}");
        }
    }
}

#[test]
fn a_target_that_came_back_gets_a_part_of_its_share_that_grows_to_the_whole() {
    let urls = urls(4);
    for config in ALL {
        let shared = Shared::default();
        let targets: Vec<_> = urls.iter().map(|url| Weighed { url, weight: 5, priority: 0 }).collect();
        let standing = Standing::new(Rules { slow_start: 3_600_000, ..Rules::default() }, shared.changes.get("users"));
        let balance = Balance::build(&yaml(config).unwrap(), None, Some(standing), "users", &targets, &shared).unwrap();
        assert_shares(&counts(&balance, 4, |_| {}), &[1; 4], config);
        balance.load(0).unwrap().come_back(crate::state::millis());
        shared.changes.get("users").note();
        let counts = counts(&balance, 4, |_| {});
        let least = *counts[1..].iter().min().unwrap() as f64;
        assert!((0.05..0.2).contains(&(counts[0] as f64 / least)), "{config}: {counts:?}");
        assert!(*counts[1..].iter().max().unwrap() as f64 / least < 1.1, "{config}: {counts:?}");
        let homes = |target: usize| (0..1000).filter(|key| balance.place(&keyed(*key)) == Some(target)).collect::<Vec<_>>();
        assert!(!config.starts_with("hash") || homes(0) == homes(0), "a key that has moved stays");
    }
    let load = Load::default();
    load.come_back(1_000);
    let stand = |now| Standing::new(Rules { slow_start: 10_000, ..Rules::default() }, Arc::default()).of(&load, now);
    assert_eq!(
        [1_000, 2_500, 6_000, 10_999, 11_000].map(stand),
        [Stand::Part(0.1), Stand::Part(0.15), Stand::Part(0.5), Stand::Part(0.9999), Stand::Full]
    );
}

#[test]
fn where_all_begin_together_nobody_gets_less() {
    let shared = Shared::default();
    let (urls, changes) = (urls(3), shared.changes.get("users"));
    let targets: Vec<_> = urls.iter().map(|url| Weighed { url, weight: 1, priority: 0 }).collect();
    for config in ALL {
        let standing = Standing::new(Rules { slow_start: 3_600_000, ..Rules::default() }, changes.clone());
        let balance = Balance::build(&yaml(config).unwrap(), None, Some(standing), "users", &targets, &shared).unwrap();
        (0..3).for_each(|index| balance.load(index).unwrap().come_back(crate::state::millis()));
        changes.note();
        assert_shares(&counts(&balance, 3, |_| {}), &[1; 3], config);
    }
}

#[test]
fn the_next_priority_is_used_when_the_first_was_tried() {
    let urls = urls(3);
    let targets: Vec<_> = urls.iter().zip([5, 0, 0]).map(|(url, priority)| Weighed { url, weight: 1, priority }).collect();
    for config in ALL {
        let balance = Balance::build(&yaml(config).unwrap(), None, None, "users", &targets, &Shared::default()).unwrap();
        let counts = counts(&balance, 3, |_| {});
        assert_eq!(counts[0], 0, "{config}: {counts:?}");
        assert_eq!(balance.place(&Asking { tried: &[1, 2], ..keyed(7) }), Some(0), "{config}");
    }
}

/// Where each of the keys goes.
fn places(urls: &[String], weights: &[u32]) -> Vec<String> {
    let balance = of("hash: { header: X-Key }", urls, weights);
    (0..PICKS).map(|key| urls[balance.place(&keyed(key)).unwrap()].clone()).collect()
}

#[test]
fn only_the_keys_of_a_target_that_leaves_move() {
    for weights in [&[1; 10][..], &[1, 2, 3, 4, 5, 1, 2, 3, 4, 5], &[1, 1, 1, 1, 1, 1, 1, 1, 1, 2]] {
        let (mut urls, mut weights) = (urls(weights.len()), weights.to_vec());
        let before = places(&urls, &weights);
        let (gone, weight) = (urls.remove(9), weights.remove(9));
        let after = places(&urls, &weights);
        let moved =
            before.iter().zip(&after).filter(|(before, after)| before != after).inspect(|(before, _)| assert_eq!(**before, gone)).count();
        // Its share of the keys, and a hundredth of all of them for chance.
        let share = f64::from(weight) / f64::from(weights.iter().sum::<u32>() + weight);
        assert!((moved as f64) < (share + 0.01) * PICKS as f64, "{moved} of {PICKS} moved, for {share}");
    }
}

#[test]
fn a_key_goes_to_the_same_target_at_every_gateway() {
    let balance = balance("hash: { header: X-Key }", &[1; 10]);
    let places: Vec<_> = (0..8).map(|key| balance.place(&keyed(key)).unwrap()).collect();
    // Worked out once; another result would move every key of every user at an upgrade.
    assert_eq!(places, [3, 0, 0, 3, 1, 0, 9, 8]);
}

#[test]
fn no_target_gets_more_than_its_bound_however_hot_a_key_is() {
    for weights in [&[1; 10][..], &WEIGHTS] {
        let balance = balance("hash: { header: X-Key, bound: 1.5 }", weights);
        let total: u32 = weights.iter().sum();
        let mut held = Vec::new();
        let mut per: HashMap<usize, f64> = HashMap::new();
        for pick in 1..=5_000 {
            let index = balance.place(&keyed(1)).unwrap();
            held.push(InFlight::begin(balance.load(index).unwrap()));
            let requests = per.entry(index).or_default();
            *requests += 1.0;
            let bound = (1.5 * f64::from(pick) * f64::from(weights[index]) / f64::from(total)).ceil().max(group::FEW as f64);
            assert!(*requests <= bound, "{requests} of {pick} at {index}");
        }
        assert!(per.len() > 1, "{per:?}");
        drop(held);
        let home = balance.place(&keyed(1));
        assert!((0..100).all(|_| balance.place(&keyed(1)) == home), "an idle target keeps its keys");
    }
}

#[test]
fn the_key_is_taken_from_where_the_config_says() {
    let mut cx = testing::ctx("/users/42", &[("id", 7..9)]);
    let mut req = RequestHeader::build("GET", b"/users/42", None).unwrap();
    req.insert_header("X-Key", "acme").unwrap();
    req.append_header("Cookie", "a=1; seat=acme").unwrap();
    let of = |config: &str, req: &RequestHeader, cx: &Ctx| balance(config, &[1, 1]).asking(req, cx, &[]).key;
    let acme = Some(group::hash(&[b"acme"]));
    assert_eq!(of("hash: { header: X-Key }", &req, &cx), acme);
    assert_eq!(of("hash: { cookie: seat }", &req, &cx), acme);
    assert_eq!(of("hash: { param: id }", &req, &cx), Some(group::hash(&[b"42"])));
    for none in ["hash: { header: X-Other }", "hash: { cookie: eat }", "hash: { param: name }", "random"] {
        assert_eq!(of(none, &req, &cx), None, "{none}");
    }
    let by_ip = "hash: { client_ip: true }";
    let v4 = of(by_ip, &req, &cx);
    cx.client = "::ffff:192.0.2.1".parse().unwrap();
    assert_eq!(of(by_ip, &req, &cx), v4);
    cx.client = "2001:db8::1".parse().unwrap();
    let v6 = of(by_ip, &req, &cx);
    cx.client = "2001:db8::2:1".parse().unwrap();
    assert_eq!(of(by_ip, &req, &cx), v6);
}

#[test]
fn a_request_without_a_key_goes_to_the_less_busy_target() {
    let balance = balance("hash: { header: X-Key }", &[1, 1]);
    let _held = InFlight::begin(balance.load(1).unwrap());
    assert!((0..100).all(|_| balance.place(&Asking::default()) == Some(0)));
}

#[test]
fn a_cookie_names_its_target_until_that_is_gone() {
    let urls = urls(3);
    let config = "sticky: { cookie: at, ttl: 1h, path: /shop }";
    let balance = of(config, &urls, &[1; 3]);
    let set = balance.cookie(2, &Asking::default()).unwrap();
    let text = set.to_str().unwrap();
    let (pair, attributes) = text.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/shop; Max-Age=3600; HttpOnly; SameSite=Lax");
    let secure = balance.cookie(2, &Asking { secure: true, ..Asking::default() }).unwrap();
    assert_eq!(secure.to_str().unwrap(), format!("{text}; Secure"));
    let value = pair.strip_prefix("at=").unwrap();
    let asking = Asking { cookie: Some(value.as_bytes()), ..Asking::default() };
    assert!((0..100).all(|_| balance.place(&asking) == Some(2)));
    assert_eq!(balance.cookie(2, &asking), None, "it has it already");
    assert!(balance.cookie(1, &asking).is_some());
    assert_ne!(balance.place(&Asking { tried: &[2], ..asking }), Some(2));
    // The list has changed, and another gateway may have it in another order.
    let others: Vec<_> = [2, 0].iter().map(|index| urls[*index].clone()).collect();
    assert_eq!(of(config, &others, &[1, 1]).place(&asking), Some(0));
    assert!(of(config, &others[1..], &[1]).cookie(0, &asking).is_some());
}

#[test]
fn a_cookie_keeps_nobody_at_a_target_that_stands_by() {
    let urls = urls(3);
    let targets: Vec<_> = urls.iter().zip([0, 0, 7]).map(|(url, priority)| Weighed { url, weight: 1, priority }).collect();
    let shared = Shared::default();
    let standing = Standing::new(Rules { health: true, min_available: 0.5, ..Rules::default() }, shared.changes.get("users"));
    let config = yaml("sticky: { cookie: at }").unwrap();
    let balance = Balance::build(&config, None, Some(standing), "users", &targets, &shared).unwrap();
    let told = |index| balance.cookie(index, &Asking::default()).unwrap().to_str().unwrap()[3..19].to_owned();
    let turn = |index: usize, well: bool| {
        let failure = (!well).then(|| "it is ill".to_owned());
        balance.load(index).unwrap().checks.note(crate::state::Checked { at: std::time::SystemTime::now(), failure }, 1, 1);
        shared.changes.get("users").note();
    };
    let (first, spare) = (told(1), told(2));
    let (first, spare) =
        (Asking { cookie: Some(first.as_bytes()), ..Asking::default() }, Asking { cookie: Some(spare.as_bytes()), ..Asking::default() });
    assert!((0..100).all(|_| balance.place(&spare) != Some(2) && balance.place(&first) == Some(1)));
    turn(0, false);
    assert!((0..100).all(|_| balance.place(&spare) == Some(1) && balance.place(&first) == Some(1)));
    turn(1, false);
    assert!((0..100).all(|_| balance.place(&spare) == Some(2) && balance.place(&first) == Some(2)));
    turn(1, true);
    assert!((0..100).all(|_| balance.place(&spare) == Some(1) && balance.place(&first) == Some(1)));
    assert!(balance.cookie(1, &spare).is_some(), "it is told where it is now");
}

#[test]
fn a_secret_changes_every_cookie_and_none_in_samesite_needs_https() {
    let value = |config: &str| balance(config, &[1]).cookie(0, &Asking::default()).unwrap();
    assert_ne!(value("sticky: { cookie: at }"), value("sticky: { cookie: at, secret: hunter2 }"));
    assert_ne!(value("sticky: { cookie: at, secret: hunter3 }"), value("sticky: { cookie: at, secret: hunter2 }"));
    let none = value("sticky: { cookie: at, same_site: none }");
    assert!(none.to_str().unwrap().ends_with("; HttpOnly; SameSite=None; Secure"), "{none:?}");
}

#[test]
fn the_settings_read_as_yaml() {
    for (text, expected) in [
        ("least_requests", BalanceConfig::LeastRequests),
        (
            "hash: { client_ip: true, bound: 2 }",
            BalanceConfig::Hash(HashConfig { client_ip: true, bound: Some(2.0), ..HashConfig::default() }),
        ),
        (
            "sticky: { cookie: at, ttl: 30m, same_site: strict }",
            BalanceConfig::Sticky(StickyConfig {
                cookie: "at".to_owned(),
                ttl: Some(Duration::secs(1800)),
                path: "/".to_owned(),
                same_site: SameSite::Strict,
                secret: None,
            }),
        ),
    ] {
        assert_eq!(yaml::<BalanceConfig>(text).unwrap(), expected);
    }
}

#[test]
fn settings_that_cannot_work_are_refused_with_their_place() {
    let urls = urls(1);
    for (text, place) in [
        ("hash: {}", "balance.hash"),
        ("hash: { header: X, cookie: y }", "balance.hash"),
        ("hash: { client_ip: false }", "balance.hash"),
        ("hash: { header: X Y }", "balance.hash.header"),
        ("hash: { cookie: \"a;b\" }", "balance.hash.cookie"),
        ("hash: { header: X, bound: 1 }", "balance.hash.bound"),
        ("hash: { header: X, bound: .nan }", "balance.hash.bound"),
        ("sticky: { cookie: \"\" }", "balance.sticky.cookie"),
        ("sticky: { cookie: at, ttl: 1500ms }", "balance.sticky.ttl"),
        ("sticky: { cookie: at, path: \"/a; Domain=x\" }", "balance.sticky.path"),
    ] {
        let targets = [Weighed { url: &urls[0], weight: 1, priority: 0 }];
        let error = Balance::build(&yaml(text).unwrap(), None, None, "users", &targets, &Shared::default()).unwrap_err();
        assert_eq!(error.path.to_string(), place, "{text}: {error}");
    }
}

#[test]
fn the_schema_names_each_way_and_wants_one_key() {
    let schema = serde_json::to_value(schemars::schema_for!(BalanceConfig)).unwrap();
    let words: Vec<_> =
        schema["oneOf"].as_array().unwrap().iter().map(|one| one["const"].as_str().or(one["required"][0].as_str()).unwrap()).collect();
    assert_eq!(words, ["round_robin", "least_requests", "random", "hash", "sticky"]);
    let hash = &schema["$defs"]["HashConfig"];
    let keys: Vec<_> = hash["oneOf"].as_array().unwrap().iter().map(|one| one["required"][0].as_str().unwrap()).collect();
    assert_eq!(keys, ["header", "cookie", "client_ip", "param"]);
    assert!(keys.iter().all(|key| hash["properties"][key].is_object()), "{hash:#}");
    assert_eq!(hash["properties"]["bound"]["exclusiveMinimum"], 1);
}
