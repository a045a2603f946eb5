use super::path::Path;
use crate::building::BuildError;

/// A value of another part: `parts.user.body`, or deeper, `parts.user.body.address.city`, where a step of digits takes an item of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which part, in the order of the config.
    pub part: usize,
    /// Where in its body, as it came; none is the whole.
    pub path: Option<Path>,
}

impl Place {
    /// Reads the name of a variable. None where it is not about the body of a part.
    ///
    /// # Errors
    /// A part that is not there, or what is no path.
    pub fn parse(variable: &str, parts: &[&str]) -> Option<Result<Self, BuildError>> {
        let rest = variable.strip_prefix("parts.")?;
        // A name may have dots in it, so the known ones are tried first, the longest of them before the others.
        let known = parts.iter().enumerate().filter_map(|(part, name)| Some((part, name.len(), body(rest.strip_prefix(name)?)?)));
        if let Some((part, _, path)) = known.max_by_key(|(_, length, _)| *length) {
            return Some(path.map(Path::parse).transpose().map(|path| Place { part, path }));
        }
        let (name, after) = rest.split_at(rest.find('.')?);
        body(after)?;
        Some(Err(BuildError::unknown("part", name, parts.iter().copied())))
    }
}

/// What follows `.body`.
fn body(rest: &str) -> Option<Option<&str>> {
    match rest.strip_prefix(".body")? {
        "" => Some(None),
        path => Some(Some(path.strip_prefix('.')?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_names_a_part_and_a_path_in_its_body() {
        let parse = |variable: &str| Place::parse(variable, &["user", "user.body", "a.b"]).map(|place| place.map_err(|error| error.fix));
        let place = |part, path: Option<&str>| Some(Ok(Place { part, path: path.map(|path| Path::parse(path).unwrap()) }));
        assert_eq!(parse("parts.user.body"), place(0, None));
        assert_eq!(parse("parts.user.body.items.0"), place(0, Some("items.0")));
        assert_eq!(parse("parts.user.body.body"), place(1, None));
        assert_eq!(parse("parts.a.b.body.c"), place(2, Some("c")));
        assert_eq!(parse("parts.usr.body.c"), Some(Err("did you mean `user`?".to_owned())));
        for other in ["parts.user.status", "parts.user.bodyx", "part.user.body", "id"] {
            assert_eq!(parse(other), None, "{other}");
        }
        assert!(parse("parts.user.body.").unwrap().is_err());
    }
}
