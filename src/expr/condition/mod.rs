//! Conditions, in CEL, the Common Expression Language.
//!
//! When the config is read, whatever an expression says of the request or of other parts is looked up, known, and put into a numbered place. So an unknown
//! name is told with its place, what the answer depends on is known, and for a request only what the expression comes to is turned into a value of CEL.

// Each uses only those above it.
mod toll;
mod pattern;
mod reference;
mod rewrite;
mod look;

use std::sync::{Arc, LazyLock};

use cel::common::types::{CelBool, DYN_TYPE, STRING_TYPE};
use cel::parser::Expression;
use cel::{Context, Env, ExecutionError, Value as Cel};
use http::HeaderName;
use pingora_http::RequestHeader;

use crate::body::json::Value;
use crate::building::BuildError;
use crate::ctx::Ctx;
use look::Look;
use pattern::{MATCHES, PATTERN};
use reference::{Reference, What};
use rewrite::Rewrite;
use toll::{LOOP, TOLL};

/// What is true or not of a request, and of what parts have said: `"beta" in claims.groups && parts.user.body.plan != 'free'`.
///
/// The language is [CEL](https://cel.dev), without its times, bytes and optional values. The words are those of templates: path parameters by their names,
/// `client.ip`, `request.method`, `consumer.name`, `version`, `client_cert.subject` and their like, all of them text. Headers and query parameters are
/// `header["X-Tenant"]` and `query.page`. `consumer.groups` is a list of texts, `consumer.labels.tier` a text; `scopes` is the list of those that the token
/// grants, as in `"orders.read" in scopes`. `claims.…` and `parts.NAME.body.…` are what they are in JSON: text, numbers, truth values, null, lists and maps, and
/// `parts.NAME.status` is a number. `has(parts.user.body.plan)`, `has(query.page)` and `"x-tenant" in header` say whether something is there; `x.matches('^a')`
/// takes a regex that is written out.
///
/// What cannot be worked out does not hold: something is missing, text is compared with a number, or the outcome is no truth value. As in CEL
/// everywhere, `a || b` holds if one of the two does, though the other cannot be worked out.
///
/// An expression has at most 1,000 bytes and looks at 4,096 values and 64 KiB of text at most; what would look at more does not hold. `size(…)` of a list or a map
/// costs nothing of that.
///
/// Loops (`all`, `exists`, `exists_one`, `map`, `filter`) do not stand within loops, and there are at most 8. A loop takes as many steps as there are operators, names and values in what it
/// does, for each item; and it looks at its items each time that it names them, and at what lies outside of it anew for each. `matches` takes a step for
/// 4 pairs of a byte of the text and a state of the regex, which has about one for each letter, and hundreds for `\w`. An expression has 131,072 such
/// steps and values and 1 MiB of such text. What would take more is not begun, though the first item might decide it, and does not hold.
/// A sum (`+`) has at most 10 names.
#[derive(Debug)]
pub struct Condition {
    text: Box<str>,
    expression: Expression,
    /// What the numbered places stand for.
    places: Box<[Reference]>,
}

/// What names in a condition may stand for.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The path parameters that every path of the route has.
    pub params: &'a [Box<str>],
    /// The parts.
    pub parts: &'a [&'a str],
}

/// What a part has said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'a> {
    /// The status of its answer.
    pub status: Option<u16>,
    /// Its body, as it came.
    pub body: Option<Value<'a>>,
}

/// How a part is asked for what it has said, by its place in [`Names::parts`].
pub type Parts<'a> = dyn Fn(usize) -> Said<'a> + Sync + 'a;

/// The longest expression, in bytes.
const LONGEST: usize = 1000;

/// Bytes of stack for the parser, which takes some for each operator: enough for the longest expression of nothing else, ten times over.
const STACK: usize = 64 * 1024 * 1024;

/// How often parentheses and their like may stand within each other, for the parser; what is left is bounded by its own depth.
const NESTED: u16 = 24;

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::default().with_optional_support(false).with_stdlib();
    // It takes a pattern that was compiled when the config was read; there is no other overload of it without the crate's own regexes.
    let _ = env.add_overload(MATCHES, "matches_pattern", vec![STRING_TYPE, PATTERN], pattern::matches);
    let _ = env.add_overload(LOOP, "pay_loop", vec![DYN_TYPE, TOLL], toll::pay);
    Arc::new(env)
});

impl Condition {
    /// Reads an expression and resolves its names.
    ///
    /// # Errors
    /// It is no CEL, too long or too deep, or has names and functions that are not known.
    pub fn parse(text: &str, names: Names<'_>) -> Result<Self, BuildError> {
        if text.len() > LONGEST {
            return Err(BuildError::new(format!("the condition has {} bytes", text.len()), format!("write at most {LONGEST}")));
        }
        let failed = |why: &str| BuildError::new(format!("this is no condition: {why}"), "write a simpler one");
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || Self::parse_here(text, names));
            thread.map_err(|error| failed(&error.to_string()))?.join().unwrap_or_else(|_| Err(failed("the parser gave up")))
        })
    }

    fn parse_here(text: &str, names: Names<'_>) -> Result<Self, BuildError> {
        let parser = Env::stdlib().with_optional_support(false).parser().max_recursion_depth(NESTED);
        let mut expression = parser.parse(text).map_err(|errors| {
            let first = errors.errors.first();
            let (why, at) = first.map_or(("", 0), |error| (error.msg.lines().next().unwrap_or_default(), error.pos.1));
            let why = why.trim_start_matches("Syntax error: ");
            BuildError::new(
                format!("this is no condition: {why}, at character {at}"),
                "write an expression in CEL, like `query.page != \"1\"`",
            )
        })?;
        let mut rewrite = Rewrite::new(names);
        rewrite.all(&mut expression)?;
        Ok(Self { text: text.into(), expression, places: rewrite.places.into() })
    }

    /// Whether it holds. What cannot be worked out does not.
    pub fn holds<'a>(&'a self, req: &'a RequestHeader, cx: &'a Ctx, parts: &'a Parts<'a>) -> bool {
        self.verdict(req, cx, parts) == Some(true)
    }

    /// Whether it holds; none where that cannot be worked out, which is told in the log at `debug`.
    pub fn verdict<'a>(&'a self, req: &'a RequestHeader, cx: &'a Ctx, parts: &'a Parts<'a>) -> Option<bool> {
        let look = Look::new(&self.places, req, cx, parts);
        let mut context = Context::with_env(ENV.clone());
        context.set_variable_resolver(&look);
        let why = match Cel::resolve_val(&self.expression, &context) {
            Ok(value) => match value.downcast_ref::<CelBool>() {
                Some(holds) => return Some(*holds.inner()),
                None => "it comes to no truth value".to_owned(),
            },
            Err(error) => self.reason(&error),
        };
        log::debug!("the condition `{}` cannot be worked out: {why}", self.text);
        None
    }

    /// Why it cannot be worked out; values of the request are not told.
    fn reason(&self, error: &ExecutionError) -> String {
        match error {
            ExecutionError::UndeclaredReference(name) => {
                let place = name.strip_prefix('@').and_then(|place| self.places.get(place.parse::<usize>().ok()?));
                format!("`{}` is missing, or more than is looked at", place.map_or("a value", |place| &place.written))
            }
            ExecutionError::NoSuchOverload(error) => error.to_string(),
            ExecutionError::NoSuchKey(_) => "a member is missing".to_owned(),
            ExecutionError::FunctionError { function, .. } if [LOOP, MATCHES].contains(&function.as_str()) => {
                "it would take too many steps".to_owned()
            }
            _ => "its values do not fit".to_owned(),
        }
    }

    /// The parts that it asks about, each as often as it does.
    pub fn parts(&self) -> impl Iterator<Item = usize> {
        self.places.iter().filter_map(|place| match &place.what {
            What::Body(place) => Some(place.part),
            What::Status(part) => Some(*part),
            What::Request(_) | What::Caller(..) | What::Scopes | What::Pattern(_) | What::Loop(_) => None,
        })
    }

    /// Those whose status it asks for.
    pub fn statuses(&self) -> impl Iterator<Item = usize> {
        self.places.iter().filter_map(|place| if let What::Status(part) = &place.what { Some(*part) } else { None })
    }

    /// The request headers that it depends on.
    pub fn headers(&self) -> impl Iterator<Item = HeaderName> {
        self.places.iter().filter_map(|place| place.header.clone())
    }

    /// Whether it asks who the client is.
    pub fn is_personal(&self) -> bool {
        self.places.iter().any(Reference::is_personal)
    }

    /// Whether it asks about a caller that a policy has found out: the consumer, claims or scopes.
    pub fn asks_caller(&self) -> bool {
        self.places.iter().any(Reference::asks_caller)
    }
}

#[cfg(test)]
mod tests;
