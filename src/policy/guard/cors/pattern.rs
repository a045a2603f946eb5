//! Origins by a regex: `^https://pr-[0-9]+\.example\.dev$`.

use regex_automata::meta::Regex;
use regex_syntax::ast::Ast;
use regex_syntax::ast::parse::Parser;

use crate::building::BuildError;

/// Bytes of all patterns of a list, compiled.
const LARGEST: usize = 1024 * 1024;

/// Origins that nobody means: what allows one of them allows them all.
const ANYONES: [&str; 2] = ["null", "https://any.invalid"];

/// Checks one pattern and makes it match whole origins only, whatever alternatives it has.
///
/// # Errors
/// It is no regex, has no end, or allows more than it looks like.
pub(super) fn read(text: &str, credentials: bool) -> Result<String, BuildError> {
    if !text.ends_with('$') {
        let fix = format!("write `{text}$`");
        return Err(BuildError::new(format!("`{text}` also allows what only begins like this"), fix));
    }
    let wrong = |error: &dyn std::fmt::Display| {
        BuildError::new(format!("`{text}` is no regex: {error}"), "write one like `^https://pr-[0-9]+\\.example\\.dev$`")
    };
    let parsed = Parser::new().parse(text).map_err(|error| wrong(error.kind()))?;
    if has_lone_dot(&parsed) {
        let fix = "write `\\.` for a dot, or a class like `[a-z0-9-]` for any letter";
        return Err(BuildError::new(format!("`{text}` has a dot that stands for any character, so others can have such a name"), fix));
    }
    let whole = format!("^(?:{text})$");
    let compiled = compile(std::slice::from_ref(&whole)).map_err(|error| wrong(&error.reason))?;
    if credentials && ANYONES.iter().any(|origin| compiled.is_match(*origin)) {
        let fix = "name the part of the host that is yours, or leave `credentials` out";
        return Err(BuildError::new(format!("`{text}` with credentials lets every page act in the user's name"), fix));
    }
    Ok(whole)
}

/// All patterns of a list in one automaton, in linear time.
///
/// # Errors
/// Together they are too large.
pub(super) fn compile(patterns: &[String]) -> Result<Regex, BuildError> {
    let config = Regex::config().nfa_size_limit(Some(LARGEST)).hybrid_cache_capacity(LARGEST);
    let built = Regex::builder().configure(config).build_many(patterns);
    built.map_err(|error| BuildError::new(format!("the patterns are too large: {error}"), "write fewer or simpler ones"))
}

/// Whether a dot without a star or its like stands for one character: hardly anyone means that in a name.
fn has_lone_dot(ast: &Ast) -> bool {
    match ast {
        Ast::Dot(_) => true,
        Ast::Repetition(repeated) => !matches!(*repeated.ast, Ast::Dot(_)) && has_lone_dot(&repeated.ast),
        Ast::Group(group) => has_lone_dot(&group.ast),
        Ast::Alternation(several) => several.asts.iter().any(has_lone_dot),
        Ast::Concat(several) => several.asts.iter().any(has_lone_dot),
        Ast::Empty(_)
        | Ast::Flags(_)
        | Ast::Literal(_)
        | Ast::Assertion(_)
        | Ast::ClassUnicode(_)
        | Ast::ClassPerl(_)
        | Ast::ClassBracketed(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(text: &str, origin: &str) -> bool {
        compile(&[read(text, true).unwrap()]).unwrap().is_match(origin)
    }

    #[test]
    fn a_pattern_matches_whole_origins_only() {
        let preview = r"^https://pr-[0-9]+\.example\.dev$";
        assert!(allows(preview, "https://pr-7.example.dev") && allows(preview, "https://pr-1234.example.dev"));
        for origin in [
            "https://pr-7.example.dev.evil.example",
            "https://evil.example/https://pr-7.example.dev",
            "http://pr-7.example.dev",
            "https://pr-7xexample.dev",
            "https://pr-.example.dev",
            "https://pr-7.example.dev\n",
            "https://pr-7.example.dev:8443",
        ] {
            assert!(!allows(preview, origin), "{origin}");
        }
        // Each alternative has both ends.
        let several = r"^https://a\.example|https://b\.example$";
        assert!(allows(several, "https://a.example") && allows(several, "https://b.example"));
        assert!(!allows(several, "https://a.example.evil") && !allows(several, "https://evil.https://b.example"));
        assert!(allows(r"^https://(.+\.)?example\.com$", "https://a.b.example.com"));
    }

    #[test]
    fn what_allows_more_than_it_looks_like_is_refused() {
        for (text, reason) in [
            (r"^https://a\.example", "also allows what only begins like this"),
            (r"^https://app.example\.com$", "has a dot that stands for any character"),
            (r"^https://(a|b).example\.com$", "has a dot that stands for any character"),
            (r"^https://(a$", "is no regex"),
            (r"^https://(?:(?:a{1000}){1000}){1000}$", "is no regex"),
            ("^.*$", "lets every page act in the user's name"),
            (r"^https://[a-z.]+$", "lets every page act in the user's name"),
            ("^null|https://a$", "lets every page act in the user's name"),
        ] {
            let error = read(text, true).unwrap_err();
            assert!(error.reason.contains(reason), "{text}: {error}");
        }
        assert!(read("^.*$", false).is_ok(), "without credentials this is no more than `*`");
    }
}
