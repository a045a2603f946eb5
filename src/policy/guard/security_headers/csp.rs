//! What a `Content-Security-Policy` says (CSP Level 3 §2.2).

use crate::building::{BuildError, did_you_mean};

/// The directives that browsers know.
const DIRECTIVES: [&str; 27] = [
    "base-uri",
    "block-all-mixed-content",
    "child-src",
    "connect-src",
    "default-src",
    "fenced-frame-src",
    "font-src",
    "form-action",
    "frame-ancestors",
    "frame-src",
    "img-src",
    "manifest-src",
    "media-src",
    "object-src",
    "report-to",
    "report-uri",
    "require-trusted-types-for",
    "sandbox",
    "script-src",
    "script-src-attr",
    "script-src-elem",
    "style-src",
    "style-src-attr",
    "style-src-elem",
    "trusted-types",
    "upgrade-insecure-requests",
    "worker-src",
];

/// The words that stand in quotes; without them they are names of hosts, which nobody means.
const QUOTED: [&str; 5] = ["self", "none", "unsafe-inline", "unsafe-eval", "strict-dynamic"];

/// Checks a policy from the config: browsers pass over what they do not know without a word.
///
/// # Errors
/// The first directive that no browser would heed.
pub(super) fn check(text: &str) -> Result<(), BuildError> {
    if text.trim().is_empty() {
        return Err(BuildError::new("this says nothing", "write directives, like `default-src 'self'`, or `off`"));
    }
    if text.contains(',') {
        return Err(BuildError::new("a comma begins another policy", "put `;` between directives"));
    }
    for directive in directives(text) {
        let mut words = directive.split_ascii_whitespace();
        let name = words.next().unwrap_or_default();
        if !DIRECTIVES.contains(&name.to_ascii_lowercase().as_str()) {
            let fix = match did_you_mean(name, DIRECTIVES) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "see https://www.w3.org/TR/CSP3/#csp-directives".to_owned(),
            };
            return Err(BuildError::new(format!("no browser knows the directive `{name}`"), fix));
        }
        if let Some(word) = words.find(|word| QUOTED.contains(&word.to_ascii_lowercase().as_str())) {
            return Err(BuildError::new(format!("`{word}` without quotes is the name of a host"), format!("write `'{word}'`")));
        }
    }
    Ok(())
}

/// Whether a policy says who may show the page in a frame.
pub(super) fn says_frames(text: &str) -> bool {
    // A header can hold several policies.
    let names = text.split(',').flat_map(directives).filter_map(|directive| directive.split_ascii_whitespace().next());
    names.into_iter().any(|name| name.eq_ignore_ascii_case("frame-ancestors"))
}

fn directives(policy: &str) -> impl Iterator<Item = &str> {
    policy.split(';').map(str::trim).filter(|directive| !directive.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_browser_would_heed_is_refused() {
        for text in [
            "default-src 'self'; img-src *; script-src 'self' https://cdn.example.com;",
            "upgrade-insecure-requests",
            "Frame-Ancestors 'none'",
        ] {
            assert!(check(text).is_ok(), "{text}");
        }
        for (text, reason, fix) in [
            ("", "this says nothing", ""),
            ("default-src 'self', img-src *", "a comma", ""),
            ("frame-ancestor 'none'", "`frame-ancestor`", "did you mean `frame-ancestors`?"),
            ("default-src: 'self'", "`default-src:`", "did you mean `default-src`?"),
            ("default-src self", "`self` without quotes", "write `'self'`"),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.reason.contains(reason) && error.fix.contains(fix), "{error}");
        }
    }

    #[test]
    fn frames_are_found_in_any_of_several_policies() {
        for text in ["frame-ancestors 'none'", "default-src *;FRAME-ANCESTORS *", "default-src *, frame-ancestors 'self'"] {
            assert!(says_frames(text), "{text}");
        }
        assert!(!says_frames("default-src *; frame-src x") && !says_frames("default-src frame-ancestors"));
    }
}
