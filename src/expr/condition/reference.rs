use http::HeaderName;

use super::Names;
use super::pattern::Pattern;
use super::toll::Work;
use crate::body::json::{Path, Place};
use crate::building::{BuildError, did_you_mean};
use crate::expr::template::{Template, Variables};

/// What an expression says of the world, at one place.
#[derive(Debug)]
pub(super) struct Reference {
    pub what: What,
    pub how: How,
    /// As it is written.
    pub written: Box<str>,
    /// The request header that it is.
    pub header: Option<HeaderName>,
    /// How often it is looked at.
    pub looks: Looks,
}

/// How often a reference is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looks {
    /// At most once.
    Once,
    /// For each item of a loop.
    Again,
}

/// What is asked about.
#[derive(Debug)]
pub(super) enum What {
    /// A text of the request.
    Request(Template),
    /// Something in what is known of the caller.
    Caller(Caller, Box<[Box<str>]>),
    /// The scopes that the token grants.
    Scopes,
    /// A value in the body of a part.
    Body(Place),
    /// The status of a part.
    Status(usize),
    /// A regex.
    Pattern(Pattern),
    /// What a loop does.
    Loop(Work),
}

/// Where it is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// The claims of the token.
    Claims,
    /// What the config says of the consumer.
    Consumer,
}

/// What is asked about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// What it is.
    Value,
    /// Whether it is there.
    Has,
    /// How many items, members or characters it has.
    Size,
}

/// One step from a name on.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Name(String),
    Index(u64),
}

/// Names that things begin with; the text behind the first dot says which.
const ROOTS: [&str; 10] = ["request", "client", "consumer", "client_cert", "header", "query", "claims", "scopes", "parts", "version"];

impl Reference {
    /// What a name and the steps from it on stand for.
    ///
    /// # Errors
    /// Nothing that is known.
    pub fn resolve(root: &str, steps: &[Step], how: How, names: Names<'_>) -> Result<Self, BuildError> {
        let written = written(root, steps);
        let (what, used) = if names.params.iter().any(|param| **param == *root) {
            (What::Request(template(root, names)?), 0)
        } else {
            match root {
                "parts" => return Ok(Self::new(of_parts(steps, &written, names)?, how, written)),
                "claims" if steps.is_empty() => return Err(BuildError::new("`claims` is no value, but many", "name one: `claims.sub`")),
                "claims" => (What::Caller(Caller::Claims, names_of(steps)), steps.len()),
                "scopes" => (What::Scopes, 0),
                "consumer" if !steps.is_empty() => (What::Caller(Caller::Consumer, names_of(steps)), of_consumer(steps, &written)?),
                "version" => (What::Request(template(root, names)?), 0),
                "header" | "query" | "request" | "client" | "consumer" | "client_cert" => {
                    let Some(Step::Name(name)) = steps.first() else {
                        let fix = format!("name one: `{root}[\"{}\"]`", if root == "header" { "x-name" } else { "name" });
                        return Err(BuildError::new(format!("`{written}` is no value, but many"), fix));
                    };
                    (What::Request(template(&format!("{root}.{name}"), names)?), 1)
                }
                _ => return Err(unknown(root, names)),
            }
        };
        if used < steps.len() {
            return Err(BuildError::new(format!("`{written}` goes into a text, which has no members"), "end before"));
        }
        let header = match steps.first() {
            Some(Step::Name(name)) if root == "header" => HeaderName::try_from(name.as_str()).ok(),
            _ => None,
        };
        Ok(Self { header, ..Self::new(what, how, written) })
    }

    /// A regex.
    pub fn pattern(pattern: Pattern) -> Self {
        Self::new(What::Pattern(pattern), How::Value, "a pattern".to_owned())
    }

    /// What a loop does.
    pub fn of_loop(work: Work) -> Self {
        Self::new(What::Loop(work), How::Value, "a loop".to_owned())
    }

    fn new(what: What, how: How, written: String) -> Self {
        Self { what, how, written: written.into(), header: None, looks: Looks::Once }
    }

    /// Whether it says who the client is.
    pub fn is_personal(&self) -> bool {
        self.asks_caller() || ["client.", "client_cert."].iter().any(|start| self.written.starts_with(start))
    }

    /// Whether it is known only of a caller that a policy has found out.
    pub fn asks_caller(&self) -> bool {
        matches!(self.what, What::Caller(..) | What::Scopes)
    }
}

fn template(name: &str, names: Names<'_>) -> Result<Template, BuildError> {
    Template::parse(&format!("{{{name}}}"), Variables { params: names.params, only_params: false })
}

fn of_parts(steps: &[Step], written: &str, names: Names<'_>) -> Result<What, BuildError> {
    let Some((Step::Name(name), rest)) = steps.split_first() else {
        return Err(BuildError::new(format!("`{written}` is no value"), "write `parts.NAME.body` or `parts.NAME.status`"));
    };
    let Some(part) = names.parts.iter().position(|known| known == name) else {
        return Err(BuildError::unknown("part", name, names.parts.iter().copied()));
    };
    match rest.split_first() {
        Some((Step::Name(word), rest)) if word == "body" => Ok(What::Body(Place { part, path: path(rest)? })),
        Some((Step::Name(word), [])) if word == "status" => Ok(What::Status(part)),
        _ => {
            let fix = format!("write `parts.{name}.body`, with the way to a value behind it, or `parts.{name}.status`");
            Err(BuildError::new(format!("`{written}` is nothing that a part has"), fix))
        }
    }
}

fn path(steps: &[Step]) -> Result<Option<Path>, BuildError> {
    if steps.is_empty() {
        return Ok(None);
    }
    let escaped = steps.iter().map(|step| match step {
        Step::Index(index) => index.to_string(),
        Step::Name(name) if name == "*" => "\\*".to_owned(),
        Step::Name(name) => name.replace('\\', "\\\\").replace('.', "\\."),
    });
    Path::parse(&escaped.collect::<Vec<_>>().join(".")).map(Some)
}

fn names_of(steps: &[Step]) -> Box<[Box<str>]> {
    let name = |step: &Step| match step {
        Step::Name(name) => Box::from(name.as_str()),
        Step::Index(index) => index.to_string().into(),
    };
    steps.iter().map(name).collect()
}

/// How many of the steps lead to something that a consumer has; those behind it would go into a text.
fn of_consumer(steps: &[Step], written: &str) -> Result<usize, BuildError> {
    match steps {
        [Step::Name(word), ..] if word == "name" => Ok(1),
        [Step::Name(word), rest @ ..] if word == "groups" || word == "labels" => Ok(1 + rest.len().min(1)),
        _ => {
            let fix = "write `consumer.name`, `consumer.groups`, or `consumer.labels.` and the name of one";
            Err(BuildError::new(format!("`{written}` is nothing that a consumer has"), fix))
        }
    }
}

/// What a name and steps look like, written with dots.
fn written(root: &str, steps: &[Step]) -> String {
    let mut text = root.to_owned();
    for step in steps {
        match step {
            Step::Index(index) => text.push_str(&format!("[{index}]")),
            Step::Name(name) => {
                text.push('.');
                text.push_str(name);
            }
        }
    }
    text
}

fn unknown(name: &str, names: Names<'_>) -> BuildError {
    let known = || names.params.iter().map(|param| &**param).chain(ROOTS);
    let fix = match did_you_mean(name, known()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known here: {}", known().collect::<Vec<_>>().join(", ")),
    };
    BuildError::new(format!("`{name}` stands for nothing here"), fix)
}
