use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::located::Located;
use super::scalar::{Hidden, Kind, Scalar};
use super::tree::{Node, Tree, Value};
use crate::building::{ConfigPath, Step};

/// Where the values of variables come from: the process, or a test's own list.
pub type Env<'e> = dyn Fn(&str) -> Option<String> + 'e;

/// The most that `${file:…}` reads, in bytes: it is made for secrets, and a path like `/dev/zero` has no end.
pub const MAX_FILE: u64 = 1024 * 1024;

/// How deep `${…}` may stand in the default or file name of another.
const MAX_NESTED: usize = 8;

/// Replaces `${NAME}`, `${NAME:-default}` and `${file:path}` in every scalar, and `$${` by `${`.
///
/// It works on the finished tree, so a value cannot become structure. A plain scalar that is one `${…}` from end to end is read again
/// as bool or number; a default, which stands in the file, also as null. As in a shell (POSIX.1-2017 XCU 2.6.2), `:-` counts for an
/// empty variable too. Relative file names are relative to the config's own directory; the newline at the end of a file is dropped.
/// What came from outside is remembered as [`Hidden`] and never printed.
///
/// Returns what could not be replaced; such a scalar is broken from then on.
pub fn substitute(tree: &mut Tree, env: &Env<'_>) -> Vec<Located> {
    let base = tree.files.first().and_then(|file| Path::new(&**file).parent()).map(Path::to_path_buf).unwrap_or_default();
    let mut root = Node { value: std::mem::replace(&mut tree.root.value, Value::Broken), place: tree.root.place };
    let mut walk = Walk { tree, env, base, errors: Vec::new() };
    walk.node(&mut root);
    let errors = walk.errors;
    tree.root = root;
    errors
}

struct Walk<'t, 'e> {
    tree: &'t Tree,
    env: &'t Env<'e>,
    base: PathBuf,
    /// Of the node that is looked at, at paths below it.
    errors: Vec<Located>,
}

impl Walk<'_, '_> {
    fn node(&mut self, node: &mut Node) {
        match &mut node.value {
            Value::Scalar(scalar) if scalar.text.contains("${") => {
                let mut told = Text { env: self.env, base: &self.base, values: Vec::new() };
                match told.whole(scalar) {
                    Ok(new) => *scalar = new,
                    Err(refusal) => {
                        self.errors.push(self.tree.error(node.place, ConfigPath::default(), refusal.reason, refusal.fix));
                        node.value = Value::Broken;
                    }
                }
            }
            Value::Scalar(_) | Value::Broken => {}
            Value::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    let known = self.errors.len();
                    self.node(item);
                    self.at(known, || Step::Index(index));
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    let known = self.errors.len();
                    self.key(&mut entry.key);
                    self.node(&mut entry.value);
                    self.at(known, || Step::Key(entry.name().to_owned()));
                }
            }
        }
    }

    /// Puts the step that leads to them before the paths of all errors but so many.
    fn at(&mut self, known: usize, step: impl Fn() -> Step) {
        for error in self.errors.iter_mut().skip(known) {
            error.path.0.insert(0, step());
        }
    }

    // A path in the config is made of keys and shown everywhere: no secret may come into it.
    fn key(&mut self, key: &mut Node) {
        let Value::Scalar(scalar) = &mut key.value else { return };
        if !scalar.text.contains("${") {
            return;
        }
        if scalar.text.replace("$${", "").contains("${") {
            let fix = "write the key itself; `$${` gives a literal `${`";
            self.errors.push(self.tree.error(key.place, ConfigPath::default(), "`${…}` works in values, not in keys", fix));
        } else {
            scalar.text = scalar.text.replace("$${", "${");
        }
    }
}

/// Why a `${…}` cannot be replaced.
struct Refusal {
    reason: String,
    fix: String,
}

impl Refusal {
    fn new(reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { reason: reason.into(), fix: fix.into() }
    }
}

struct Text<'t, 'e> {
    env: &'t Env<'e>,
    base: &'t Path,
    values: Vec<String>,
}

impl Text<'_, '_> {
    fn whole(&mut self, scalar: &Scalar) -> Result<Scalar, Refusal> {
        let text = self.expand(&scalar.text, 0)?;
        let alone = scalar.text.strip_prefix("${").and_then(closing).is_some_and(|(_, after)| after.is_empty());
        let from_outside = !self.values.is_empty();
        let kind = match Kind::of(&text) {
            // A password of `null` is a password.
            Kind::Null if from_outside => Kind::Text,
            kind if alone && !scalar.quoted => kind,
            _ => Kind::Text,
        };
        let hidden = from_outside.then(|| Box::new(Hidden { source: scalar.text.clone(), values: std::mem::take(&mut self.values) }));
        Ok(Scalar { text, kind, quoted: scalar.quoted, hidden })
    }

    fn expand(&mut self, text: &str, depth: usize) -> Result<String, Refusal> {
        if depth > MAX_NESTED {
            return Err(Refusal::new(format!("`${{…}}` stands in itself more than {MAX_NESTED} deep"), "write it flatter"));
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                out.push_str(before);
                out.push_str("${");
                rest = after;
                continue;
            }
            out.push_str(before);
            let (inside, after) =
                closing(after).ok_or_else(|| Refusal::new("a `${` is not closed", "add the `}`, or write `$${` for a literal `${`"))?;
            out.push_str(&self.one(inside, depth)?);
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }

    /// The value of `${inside}`.
    fn one(&mut self, inside: &str, depth: usize) -> Result<String, Refusal> {
        if let Some(name) = inside.strip_prefix("file:") {
            let known = self.values.len();
            let path = self.expand(name, depth + 1)?;
            // What makes up the file's name is no part of the text.
            self.values.truncate(known);
            let value = read(&self.base.join(path)).map_err(|error| {
                let fix = "check that the file exists and that the gateway's user may read it";
                Refusal::new(format!("the file of `${{{inside}}}` cannot be read: {}", plain(&error)), fix)
            })?;
            return Ok(self.outside(value));
        }
        let (name, default) = inside.split_once(":-").map_or((inside, None), |(name, default)| (name, Some(default)));
        let named = !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if name.is_empty() || !named {
            let fix = "write `${NAME}`, `${NAME:-default}` or `${file:/path}`; `$${` gives a literal `${`";
            return Err(Refusal::new(format!("`${{{inside}}}` names no variable"), fix));
        }
        match ((self.env)(name), default) {
            (Some(value), None) => Ok(self.outside(value)),
            (Some(value), _) if !value.is_empty() => Ok(self.outside(value)),
            (_, Some(default)) => self.expand(default, depth + 1),
            (None, None) => {
                let fix = format!("set it for the gateway's process, or give a default: `${{{name}:-…}}`");
                Err(Refusal::new(format!("the environment variable `{name}` is not set"), fix))
            }
        }
    }

    fn outside(&mut self, value: String) -> String {
        self.values.push(value.clone());
        value
    }
}

/// Splits what follows a `${` at the `}` that closes it; `{` and `}` in between come in pairs.
fn closing(text: &str) -> Option<(&str, &str)> {
    let mut open = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => open += 1,
            '}' if open == 0 => return Some((text.get(..at)?, text.get(at + 1..)?)),
            '}' => open -= 1,
            _ => {}
        }
    }
    None
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    let trimmed = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    Ok(trimmed.to_owned())
}

/// The error without the name of the file, which may be made from a secret.
pub fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::IsADirectory => "it is a directory".into(),
        io::ErrorKind::InvalidData => "it is not UTF-8 text".into(),
        _ => error.to_string(),
    }
}

/// What to do about a file that cannot be read.
pub fn mend(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::InvalidData => "save it as UTF-8",
        _ => "check the path, and that the gateway's user may read the file",
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;

    fn env(name: &str) -> Option<String> {
        let known = [("PORT", "8080"), ("HOST", "h: {x: 1}"), ("EMPTY", ""), ("NULL", "null"), ("DIR", "/no/such")];
        known.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    fn one(text: &str) -> Result<Scalar, String> {
        let (mut tree, _) = parse("t.yaml", &format!("k: {text}\n")).unwrap();
        let errors = substitute(&mut tree, &env);
        match (&tree.root.entry("k").unwrap().value.value, errors.as_slice()) {
            (Value::Scalar(scalar), []) => Ok(scalar.clone()),
            (Value::Broken, [error]) => Err(error.to_string()),
            other => panic!("{other:?}"),
        }
    }

    fn read(text: &str) -> (String, Kind) {
        let scalar = one(text).unwrap();
        (scalar.text, scalar.kind)
    }

    #[test]
    fn variables_are_replaced_and_never_become_structure() {
        assert_eq!(read("http://${HOST}:${PORT}/"), ("http://h: {x: 1}:8080/".into(), Kind::Text));
        assert_eq!(read("${HOST}"), ("h: {x: 1}".into(), Kind::Text));
    }

    #[test]
    fn a_plain_scalar_that_is_one_variable_is_typed_by_its_value() {
        assert_eq!(read("${PORT}").1, Kind::Int(8080));
        assert_eq!(read("'${PORT}'").1, Kind::Text);
        assert_eq!(read("${PORT}0").1, Kind::Text);
        assert_eq!(read("${NONE:-true}").1, Kind::Bool(true));
        assert_eq!(read("${NONE:-}").1, Kind::Null);
        assert_eq!(read("${NULL}"), ("null".into(), Kind::Text));
        assert_eq!(read("${EMPTY}"), (String::new(), Kind::Text));
    }

    #[test]
    fn a_default_counts_when_the_variable_is_unset_or_empty_and_may_hold_braces() {
        assert_eq!(read("${EMPTY:-x}").0, "x");
        assert_eq!(read("${PORT:-x}").0, "8080");
        assert_eq!(read("${NONE:-/users/{id}}/x").0, "/users/{id}/x");
        assert_eq!(read("${NONE:-${ALSO:-${PORT}}}").0, "8080");
    }

    #[test]
    fn templates_without_a_dollar_and_escaped_ones_are_left_alone() {
        assert_eq!(read("\"/users/{id}/{rest...}\"").0, "/users/{id}/{rest...}");
        assert_eq!(read("$5 and $${PORT} and ${PORT}").0, "$5 and ${PORT} and 8080");
        assert_eq!(read("$${x}").0, "${x}");
    }

    #[test]
    fn what_comes_from_outside_is_hidden_and_a_default_is_not() {
        assert_eq!(one("a${PORT}").unwrap().hidden.unwrap().values, ["8080"]);
        assert!(one("${NONE:-8080}").unwrap().hidden.is_none());
        assert!(one("$${x}").unwrap().hidden.is_none());
    }

    #[test]
    fn a_variable_that_is_not_set_is_an_error_with_a_fix() {
        let error = one("${NONE}").unwrap_err();
        assert_eq!(
            error,
            "t.yaml:1:4: k: the environment variable `NONE` is not set\n    fix: set it for the gateway's process, or give a default: `${NONE:-…}`"
        );
    }

    #[test]
    fn what_is_no_substitution_is_refused() {
        for (text, reason) in [
            ("a ${PORT", "is not closed"),
            ("${}", "names no variable"),
            ("${a.b}", "names no variable"),
            ("${1A}", "names no variable"),
            (&format!("{}x{}", "${N:-".repeat(20), "}".repeat(20)), "deep"),
        ] {
            assert!(one(text).unwrap_err().contains(reason), "{text}");
        }
    }

    #[test]
    fn keys_are_left_as_they_are() {
        let (mut tree, _) = parse("t.yaml", "a$${b: 1\n'${PORT}': 2\n").unwrap();
        let errors = substitute(&mut tree, &env);
        assert_eq!(errors.len(), 1);
        assert!(errors[0].to_string().starts_with("t.yaml:2:1: ${PORT}: `${…}` works in values"), "{}", errors[0]);
        assert!(tree.root.entry("a${b").is_some());
    }

    #[test]
    fn files_are_read_next_to_the_config_without_their_last_newline() {
        let dir = std::env::temp_dir().join(format!("tidegate-substitute-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("key"), "s3cret\n").unwrap();
        let name = dir.join("t.yaml").display().to_string();
        let (mut tree, _) =
            parse(&name, &format!("a: ${{file:key}}\nb: '${{file:{}/key}}'\nc: ${{file:${{DIR}}/x}}\n", dir.display())).unwrap();
        let errors = substitute(&mut tree, &env);
        std::fs::remove_dir_all(&dir).unwrap();
        for key in ["a", "b"] {
            let Value::Scalar(scalar) = &tree.root.entry(key).unwrap().value.value else { panic!() };
            assert_eq!((scalar.text.as_str(), scalar.hidden.is_some()), ("s3cret", true));
        }
        assert_eq!(errors.len(), 1);
        assert!(errors[0].reason.contains("`${file:${DIR}/x}` cannot be read: there is no such file"), "{}", errors[0]);
    }

    #[test]
    fn an_endless_or_binary_file_is_refused() {
        assert!(one("${file:/dev/zero}").unwrap_err().contains("cannot be read"));
        assert!(one("${file:/}").unwrap_err().contains("it is a directory"));
    }
}
