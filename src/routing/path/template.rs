//! The path at a service, made of path parameters.

use std::borrow::Cow;

use pingora_http::RequestHeader;

use super::normalise::{escape, normalise};
use super::{Backslashes, EncodedSlashes, PathOptions, Semicolons};
use crate::building::BuildError;
use crate::ctx::Ctx;
use crate::expr::{Template, Variables};
use crate::problem::{Kind, Problem};

/// A path with path parameters in it, in the one form that paths have. A request whose parameters would make it another path is refused: text beside a
/// parameter may make `..` of it, which the service would resolve.
#[derive(Clone, Debug)]
pub struct PathTemplate {
    template: Template,
    options: PathOptions,
}

impl PathTemplate {
    /// Parses the text, with the route's path parameters as variables.
    ///
    /// # Errors
    /// What is no path, or none in its one form.
    pub fn build(text: &str, params: &[Box<str>], options: &PathOptions) -> Result<Self, BuildError> {
        if !text.starts_with('/') {
            return Err(BuildError::new("a path starts with `/`", format!("write `/{text}`")));
        }
        if text.contains(['?', '#', ' ']) {
            return Err(BuildError::new("this is more than a path", "remove the query; the request's own query goes along"));
        }
        // The other options bound what clients may send. What the operator writes is meant, and a parameter holds only what they let through.
        let options = PathOptions {
            merge_slashes: options.merge_slashes,
            encoded_slashes: EncodedSlashes::Keep,
            backslashes: Backslashes::Keep,
            semicolons: Semicolons::Keep,
        };
        let wrong =
            |reason: String| BuildError::new(reason, "write it as the service shall get it, without `.` and `..`, a percent sign as `%25`");
        let template = Template::parse(text, Variables { params, only_params: true })?.map_text(|part| {
            let mut out = String::new();
            escape(part, &options, &mut out).map_err(|error| wrong(format!("`{text}` cannot be a path: {error}")))?;
            Ok(out)
        })?;
        let example = template.example("x");
        match normalise(&example, &options) {
            Ok(normal) if normal == example => Ok(Self { template, options }),
            Ok(_) => Err(wrong(format!("`{text}` has segments that would be resolved, or several slashes in a row"))),
            Err(error) => Err(wrong(format!("`{text}` cannot be a path: {error}"))),
        }
    }

    /// The path of one request.
    ///
    /// # Errors
    /// A parameter is missing, or what its values make would be read as another path.
    pub fn render<'p>(&'p self, req: &RequestHeader, cx: &'p Ctx) -> Result<Cow<'p, str>, Problem> {
        let path = self.template.render(req, cx).ok_or_else(|| Problem::new(Kind::Internal, "the service's path cannot be made"))?;
        let Cow::Owned(path) = path else { return Ok(path) };
        // A parameter may be empty.
        let path = if self.options.merge_slashes { merged(path) } else { path };
        match normalise(&path, &self.options) {
            Ok(Cow::Borrowed(_)) => Ok(path.into()),
            _ => Err(Problem::new(Kind::BadRequest, "the path cannot be forwarded: at the service it would be another one")),
        }
    }
}

fn merged(mut path: String) -> String {
    if path.contains("//") {
        let mut before = ' ';
        path.retain(|char| std::mem::replace(&mut before, char) != '/' || char != '/');
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctx::testing;

    fn build(text: &str) -> Result<PathTemplate, BuildError> {
        PathTemplate::build(text, &["id".into()], &PathOptions::default())
    }

    fn made(template: &str, id: &str) -> Option<String> {
        let path = format!("/{id}");
        let req = RequestHeader::build("GET", b"/", None).unwrap();
        let cx = testing::ctx(&path, &[("id", 1..u32::try_from(path.len()).unwrap())]);
        build(template).unwrap().render(&req, &cx).ok().map(Cow::into_owned)
    }

    #[test]
    fn parameters_make_no_other_path_than_their_place_says() {
        for (template, id, expected) in [
            ("/users/{id}", "42", Some("/users/42")),
            ("/users/{id}/x", "..", None),
            ("/users/{id}", ".", None),
            ("/users/{id}", "..;a", None),
            ("/users/{id};a", "..", None),
            ("/data/{id}", "../etc/passwd", None),
            ("/data/{id}", "a/b/", Some("/data/a/b/")),
            ("/data/{id}/b", "a/", Some("/data/a/b")),
            ("/data/{id}/b", "", Some("/data/b")),
            ("/data/.{id}", ".", None),
            ("/data/v{id}", "..", Some("/data/v..")),
            ("/data/%2{id}", "E", None),
        ] {
            if template.contains('%') {
                assert!(build(template).is_err());
            } else {
                assert_eq!(made(template, id).as_deref(), expected, "{template} with {id}");
            }
        }
        assert_eq!(made("/%61/é/{{{id}", "%C3%A9").as_deref(), Some("/a/%C3%A9/%7B%C3%A9"));
    }

    #[test]
    fn what_is_no_path_in_its_one_form_is_refused() {
        for text in ["a", "/a?b", "/a b", "/a/../b", "/a/../b/{id}", "/a/./{id}", "/%zz/{id}", "/%", "/a//{id}", "/..;/{id}", "/a\u{1}"] {
            assert!(build(text).is_err(), "{text}");
        }
        assert_eq!(build("/a/..%5C{id}").unwrap_err().reason, "`/a/..%5C{id}` cannot be a path: the path has a dot segment in disguise");
        let keep = PathOptions { merge_slashes: false, ..PathOptions::default() };
        PathTemplate::build("/a//b/%2F", &[], &keep).unwrap();
    }
}
