use std::fmt::Write as _;

use serde_json::Value;

use super::needs::Needs;
use super::{Explanation, To};

/// How many candidates are told; `--json` has all.
const MOST: usize = 8;

/// The explanation for people: one fact a line, the most important first.
pub(super) fn render(told: &Explanation) -> String {
    let mut out = String::new();
    let mut line = |name: &str, text: &str| {
        let _ = writeln!(out, "{name:<10} {text}");
    };
    let asked = &told.request;
    let query = asked.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let host = if asked.host.is_empty() { "no host".to_owned() } else { format!("host {}", asked.host) };
    line("request", &format!("{} {}{query} ({host}, client {})", asked.method, asked.path, asked.client));
    match &told.route {
        Some(route) => {
            let taken = told.candidates.iter().find(|candidate| candidate.why == "taken");
            let by = taken.map(|taken| format!(", by host {} and path {}", taken.host, taken.path)).unwrap_or_default();
            line("route", &format!("{} ({}){by}", route.name, route.place));
            for (name, value) in &route.params {
                line("", &format!("{{{name}}} is {value}"));
            }
        }
        None => line("route", "none"),
    }
    if let Some(version) = &told.version {
        line("version", &format!("{}{}", version.name, if version.default { ", the default" } else { ", as the request asks" }));
    }
    match &told.to {
        Some(To::Service { name, path, backend }) => line("to", &format!("service {name} ({backend}), path {path}{query}")),
        Some(To::OneOf { path }) => line("to", &format!("one of these services, path {path}{query}")),
        Some(To::Handler(name)) => line("to", &format!("{name}: the gateway answers")),
        None => {}
    }
    for (number, part) in told.parts.iter().enumerate() {
        line(if number == 0 { "parts" } else { "" }, &part.line());
    }
    if let Some(split) = &told.split {
        let shares = split.shares.iter().map(|(name, share)| format!("{name} {}", percent(*share)));
        let sticky = split.sticky.as_ref().map(|by| format!("; sticky by {by}")).unwrap_or_default();
        let by = match split.by {
            "force" => "; this request names its service",
            "sticky" => "; this request has its service",
            _ => "",
        };
        line("split", &format!("{}{sticky}{by}", shares.collect::<Vec<_>>().join(", ")));
    }
    if let Some(mirror) = &told.mirror {
        line("mirror", &format!("service {} gets copies of {}", mirror.to, percent(mirror.share)));
    }
    for (number, policy) in told.policies.iter().enumerate() {
        let name = if number == 0 { "policies" } else { "" };
        let settings = settings(&policy.settings);
        line(name, &format!("{}. {}{settings} (of the {}, {})", number + 1, policy.name, policy.scope, policy.place));
    }
    for lines in told.policies.iter().filter_map(|policy| policy.needs.as_ref()).map(Needs::lines) {
        for (number, text) in lines.iter().enumerate() {
            line(if number == 0 { "needs" } else { "" }, text);
        }
    }
    if let Some(refused) = &told.refused {
        let after = if told.policies.is_empty() { "" } else { " after the policies" };
        line("answer", &format!("{} {}{after}: {}", refused.status, refused.title, refused.detail));
    }
    let others: Vec<_> = told.candidates.iter().filter(|candidate| candidate.why != "taken").collect();
    for (number, other) in others.iter().take(MOST).enumerate() {
        line(if number == 0 { "not" } else { "" }, &format!("{} ({}): {}", other.route, other.place, other.reason));
    }
    if others.len() > MOST {
        line("", &format!("and {} more; `--json` tells all", others.len() - MOST));
    }
    out.trim_end().to_owned()
}

fn percent(share: f64) -> String {
    let text = format!("{:.4}", share * 100.0);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

/// What is set, on one line: what is not is left out.
fn settings(settings: &Value) -> String {
    let said = |value: &Value| !matches!(value, Value::Null) && value.as_array().is_none_or(|list| !list.is_empty());
    let pairs = settings.as_object().into_iter().flatten().filter(|(_, value)| said(value));
    let pairs: Vec<_> = pairs.map(|(name, value)| format!("{name}: {}", flow(value))).collect();
    if pairs.is_empty() { String::new() } else { format!(" {{ {} }}", pairs.join(", ")) }
}

/// A value as YAML writes it in one line.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text)
            if text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./*".contains(c)) && text.contains(char::is_alphabetic) =>
        {
            text.clone()
        }
        Value::Array(list) => format!("[{}]", list.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let filled = map.iter().filter(|(_, value)| {
                !matches!(value, Value::Null)
                    && value.as_object().is_none_or(|map| !map.is_empty())
                    && value.as_array().is_none_or(|list| !list.is_empty())
            });
            format!("{{ {} }}", filled.map(|(name, value)| format!("{name}: {}", flow(value))).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}
