//! Versions by media type: which of them an `Accept` likes best (RFC 9110 §12.5.1).

use super::Choice;
use crate::building::BuildError;

/// A media type with the version in it: upper and lower case are the same (RFC 9110 §8.3.1).
#[derive(Debug)]
pub(super) struct MediaType {
    before: Box<str>,
    after: Box<str>,
}

impl MediaType {
    /// Reads `application/vnd.acme.{version}+json`.
    pub(super) fn build(pattern: &str) -> Result<Self, BuildError> {
        let example = "write one like `application/vnd.acme.{version}+json`";
        let lower = pattern.to_ascii_lowercase();
        let (before, after) = lower.split_once("{version}").ok_or_else(|| BuildError::new("the media type has no `{version}`", example))?;
        let (kind, rest) = before.split_once('/').unwrap_or_default();
        let names = kind.bytes().chain(rest.bytes()).chain(after.bytes());
        if kind.is_empty() || !names.into_iter().all(is_name_byte) {
            return Err(BuildError::new(format!("`{pattern}` is no media type"), example));
        }
        Ok(Self { before: before.into(), after: after.into() })
    }

    /// What these lines of `Accept` want: the version that they like best; of those that they like alike, the first. What they refuse (`q=0`) is not
    /// chosen by default either. Where they name only versions that there are not, the default will do if they take any type.
    pub(super) fn choose<'a>(
        &self,
        accept: impl Iterator<Item = &'a str>,
        versions: impl Iterator<Item = &'a str> + Clone,
        default: Option<usize>,
    ) -> Choice {
        let mut best: Option<(u16, usize)> = None;
        let (mut unknown, mut anything, mut no_default) = (false, false, false);
        for range in accept.flat_map(|line| line.split(',')) {
            let (media, parameters) = range.split_once(';').unwrap_or((range, ""));
            let (media, weight) = (media.trim().to_ascii_lowercase(), weight(parameters));
            if media == "*/*" || media.strip_suffix('*').is_some_and(|kind| kind.ends_with('/') && self.before.starts_with(kind)) {
                (anything, no_default) = (anything || weight > 0, no_default || weight == 0);
                continue;
            }
            let Some(name) = media.strip_prefix(&*self.before).and_then(|rest| rest.strip_suffix(&*self.after)) else { continue };
            match versions.clone().position(|version| version.eq_ignore_ascii_case(name)) {
                Some(at) if weight == 0 => no_default |= default == Some(at),
                Some(at) if best.is_none_or(|(most, _)| weight > most) => best = Some((weight, at)),
                Some(_) => {}
                None => unknown |= weight > 0,
            }
        }
        match best {
            Some((_, at)) => Choice::Known(at),
            None if no_default || (unknown && !anything) => Choice::Unknown,
            None => Choice::Open,
        }
    }
}

/// `restricted-name-chars` of RFC 6838 §4.2.
pub(super) fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte)
}

/// `q` in thousandths (RFC 9110 §12.4.2); 1000 where there is none, 0 where it cannot be read.
fn weight(parameters: &str) -> u16 {
    let named = |parameter: &&str| parameter.get(..2).is_some_and(|name| name.eq_ignore_ascii_case("q="));
    let q = parameters.split(';').map(str::trim).find(named).and_then(|parameter| parameter.get(2..));
    q.map_or(1000, |q| q.trim().parse::<f32>().map_or(0, |q| (q.clamp(0.0, 1.0) * 1000.0) as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_that_is_liked_best_and_exists_is_chosen() {
        let media = MediaType::build("application/vnd.acme.{version}+JSON").unwrap();
        let choose = |accept: &str| {
            let accept = accept.replace("V(", "application/vnd.acme.").replace(')', "+json");
            media.choose([&*accept].into_iter(), ["v1", "V3"].into_iter(), Some(0))
        };
        for (accept, expected) in [
            ("V(v3)", Choice::Known(1)),
            ("V(v9), V(v3);q=0.5", Choice::Known(1)),
            ("V(v1);q=0.5, V(v3);Q=0.8", Choice::Known(1)),
            ("V(v1);Q=0, V(v3);q=0.1", Choice::Known(1)),
            ("V(v9)", Choice::Unknown),
            ("V(v9), text/html", Choice::Unknown),
            ("V(v9), */*;q=0.1", Choice::Open),
            ("V(v9), application/*", Choice::Open),
            ("V(v9), text/*", Choice::Unknown),
            ("V(v9);q=0", Choice::Open),
            ("V(v1);q=0", Choice::Unknown),
            ("V(v1);q=0, */*", Choice::Unknown),
            ("*/*;q=0", Choice::Unknown),
            ("text/html, */*", Choice::Open),
            ("", Choice::Open),
        ] {
            assert_eq!(choose(accept), expected, "{accept}");
        }
    }

    #[test]
    fn what_is_no_media_type_is_refused() {
        for wrong in
            ["application/vnd.acme+json", "{version}", "application{version}", "application/a b{version}", "/{version}", "a/{version};q=1"]
        {
            assert!(MediaType::build(wrong).is_err(), "{wrong}");
        }
    }
}
