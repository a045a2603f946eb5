//! Tokens that were taken back before their time: by their id, or all of a subject. From a file, and from Redis.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use foldhash::fast::RandomState;
use serde_json::{Map, Value};

use super::jwt::challenge::Challenge;
use super::jwt::token::Refusal;
use crate::building::{BuildError, read_file};
use crate::ctx::name;
use crate::policy::PolicyCx;
use crate::problem::Problem;
use crate::store::Revocations;
use crate::types::Moment;

/// All that may take a token back.
#[derive(Debug)]
pub(super) struct Revoked {
    listed: Option<Listed>,
    stored: Option<Arc<Revocations>>,
}

/// What the file lists.
#[derive(Debug, Default, PartialEq)]
struct Listed {
    ids: HashSet<Box<str>, RandomState>,
    /// Subjects, and until when their tokens must have been issued to be taken back, in seconds since 1970; none for all.
    subjects: HashMap<Box<str>, Option<f64>, RandomState>,
}

const FORM: &str = "write `jti ID`, `sub NAME`, or `sub NAME before 2026-01-31T12:00:00Z`, or a date; a comment begins with `#`";

const REVOKED: &str = "the token was revoked";

impl Revoked {
    /// By the file of that name, and by what the config says of all tokens.
    ///
    /// # Errors
    /// The file cannot be read, or a line is none of those that it may have.
    pub(super) fn build(name: Option<&str>, cx: &PolicyCx<'_>) -> Result<Self, BuildError> {
        let listed = name.map(|name| Listed::read(cx.folder, name)).transpose().map_err(|error| error.at("revoked"))?;
        Ok(Self { listed, stored: cx.revocations.cloned() })
    }

    /// # Errors
    /// The token was taken back, or nobody knows.
    pub(super) async fn check(&self, claims: &Map<String, Value>, challenge: &Challenge) -> Result<(), Problem> {
        if let Some(listed) = &self.listed {
            listed.check(claims).map_err(|refusal| challenge.invalid(refusal))?;
        }
        match &self.stored {
            // Boxed: elsewhere every request would hold the room for it.
            Some(stored) if Box::pin(stored.has(claims)).await? => Err(challenge.invalid(REVOKED.into())),
            _ => Ok(()),
        }
    }
}

impl Listed {
    fn read(folder: &Path, name: &str) -> Result<Self, BuildError> {
        let bytes = read_file(folder, name)?;
        let text = str::from_utf8(&bytes).map_err(|_| BuildError::new(format!("{name} is no text"), FORM))?;
        let mut revoked = Self::default();
        for (at, line) in text.lines().enumerate() {
            revoked.line(line).map_err(|why| BuildError::new(format!("{name}, line {}: {why}", at + 1), FORM))?;
        }
        Ok(revoked)
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            [first, ..] if first.starts_with('#') => {}
            ["jti", id] => {
                self.ids.insert((*id).into());
            }
            ["sub", name] => {
                self.subjects.insert((*name).into(), None);
            }
            ["sub", name, "before", time] => {
                let seconds = time.parse::<Moment>()?.seconds();
                // Of several for one subject the one that takes back the most.
                let known = self.subjects.entry((*name).into()).or_insert(Some(seconds));
                *known = known.map(|known| known.max(seconds));
            }
            _ => return Err("this is none of its lines".to_owned()),
        }
        Ok(())
    }

    /// # Errors
    /// The token was taken back.
    fn check(&self, claims: &Map<String, Value>) -> Result<(), Refusal> {
        let named = |claim: &str| claims.get(claim).and_then(name);
        let by_id = named("jti").is_some_and(|id| self.ids.contains(&*id));
        let by_subject = named("sub").and_then(|name| self.subjects.get(&*name)).is_some_and(|until| match until {
            None => true,
            // One that does not say when it was issued may have been before.
            Some(until) => claims.get("iat").and_then(Value::as_f64).is_none_or(|issued| issued < *until),
        });
        if by_id || by_subject { Err(REVOKED.into()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Listed, String> {
        let path = std::env::temp_dir().join(format!("tidegate-revoked-{}-{:?}", std::process::id(), std::thread::current().id()));
        std::fs::write(&path, text).unwrap();
        let read = Listed::read(Path::new(""), path.to_str().unwrap());
        std::fs::remove_file(&path).unwrap();
        read.map_err(|error| error.reason.replace(path.to_str().unwrap(), "file"))
    }

    #[test]
    fn tokens_are_taken_back_by_their_ids_and_by_their_subjects() {
        let revoked = read(
            "# stolen\njti 7\n\n  jti  a-b/c\t\nsub ada\nsub 4711\nsub bob before 2026-01-01T00:00:00Z\nsub bob before 2025-01-01T00:00:00+01:00\nsub eve before 2026-01-01T00:00:00Z\nsub eve\nsub dan before 2026-01-01\nsub fay before 2026-01-01T00:00:00.5Z\n",
        )
        .unwrap();
        let good = |claims: Value| revoked.check(claims.as_object().unwrap()).is_ok();
        let year = 1_767_225_600; // 2026-01-01
        for claims in [
            json!({"jti": "7"}),
            json!({"jti": "a-b/c", "sub": "x"}),
            json!({"jti": 7}),
            json!({"sub": 4711, "iat": year + 9}),
            json!({"sub": "ada", "iat": year + 9}),
            json!({"sub": "bob", "iat": year - 1}),
            json!({"sub": "bob", "iat": year as f64 - 0.5}),
            json!({"sub": "bob"}),
            json!({"sub": "bob", "iat": "later"}),
            json!({"sub": "eve", "iat": year + 9}),
            json!({"sub": "dan", "iat": year - 1}),
            json!({"sub": "fay", "iat": year}),
        ] {
            assert!(!good(claims.clone()), "{claims}");
        }
        for claims in [
            json!({}),
            json!({"jti": "70"}),
            json!({"jti": "ada", "sub": "7"}),
            json!({"sub": "Ada"}),
            json!({"sub": "bob", "iat": year}),
            json!({"sub": "fay", "iat": year + 1}),
        ] {
            assert!(good(claims.clone()), "{claims}");
        }
    }

    #[test]
    fn a_line_that_is_none_is_told_with_its_number() {
        for (line, why) in [
            ("jti", "this is none of its lines"),
            ("jti a b", "this is none of its lines"),
            ("sub ada after 2026-01-01T00:00:00Z", "this is none of its lines"),
            ("sub ada before soon", "`soon` is not a date; write `2026-12-31` or `2026-12-31T12:00:00Z`"),
            ("aud api", "this is none of its lines"),
        ] {
            assert_eq!(read(&format!("sub eve\n{line}\n")).unwrap_err(), format!("file, line 2: {why}"));
        }
        assert_eq!(read("").unwrap(), Listed::default());
    }
}
