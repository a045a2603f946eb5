use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::de::{De, Known};
use super::fault::{self, replace_values};
use super::gather::{gather, secrets};
use super::include::{Document, assemble};
use super::located::{ConfigErrors, Located};
use super::parse::parse;
use super::sources::Sources;
use super::substitute::{Env, mend, plain, substitute};
use super::tree::{self, Node, Tree, said};
use crate::building::{BuildError, ConfigPath, Errors, Step};

/// A config that was read, and the document it was read from.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The config.
    pub value: T,
    /// The document, with `${…}` replaced and the included files in their place.
    pub tree: Tree,
    /// The files that it came from.
    pub sources: Sources,
}

impl<T> Loaded<T> {
    /// What the document says, as plain data: to compare two of them.
    pub fn json(&self) -> serde_json::Value {
        serde_json::Value::deserialize(De::new(&self.tree.root, &Known::default())).unwrap_or_default()
    }
}

impl<T> Loaded<T> {
    /// Where a part of the document stands: `file:line`.
    pub fn place(&self, path: &[Step]) -> String {
        said(&self.tree.files, self.tree.find(&ConfigPath(path.to_vec())).1)
    }

    /// Gives a remark about the config its place.
    pub fn located(&self, remark: &BuildError) -> Located {
        let mut located = locate(&self.tree, remark.path.clone(), remark.other.clone(), remark);
        self.tree.within_file(&mut located.path);
        located
    }

    /// What was read at a place, without what came from outside the file: in its stead stands where it came from.
    pub fn conceal(&self, mut value: Value, path: &ConfigPath) -> Value {
        let secrets = secrets(&self.tree);
        conceal(&mut value, Some(self.tree.find(path).0), &secrets);
        value
    }
}

fn conceal(value: &mut Value, node: Option<&Node>, secrets: &[&str]) {
    if let Some(hidden) = node.and_then(|node| match &node.value {
        tree::Value::Scalar(scalar) => scalar.hidden.as_ref(),
        _ => None,
    }) {
        *value = Value::String(hidden.source.clone());
        return;
    }
    match value {
        Value::String(text) => *text = replace_values(std::mem::take(text), secrets.iter().copied()),
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                let node = node.and_then(|node| match &node.value {
                    tree::Value::List(nodes) => nodes.get(index),
                    _ => None,
                });
                conceal(item, node, secrets);
            }
        }
        Value::Object(map) => {
            for (name, item) in map.iter_mut() {
                conceal(item, node.and_then(|node| node.entry(name)).map(|entry| &entry.value), secrets);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Gives an error of building its place in the file: for a leaf, that of the value; for a list or mapping, that of the key it stands
/// behind; in a list, that of the entry. If the path is not in the file (a key that was left out), the nearest part above it counts.
/// Values from the environment and from files are replaced by `***`.
fn locate(tree: &Tree, path: ConfigPath, other: Option<ConfigPath>, error: &BuildError) -> Located {
    let (node, place) = tree.find(&path);
    let other = other.map(|other| format!("; the other is at {}", said(&tree.files, tree.find(&other).1))).unwrap_or_default();
    let conceal = |text: &str| replace_values(fault::conceal(text.to_owned(), node), secrets(tree).into_iter());
    tree.error(place, path, conceal(&error.reason) + &other, conceal(&error.fix))
}

/// The environment of this process; a value that is not UTF-8 counts as unset.
pub fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads a config file and builds what it describes.
///
/// # Errors
/// A file that cannot be read, and everything that is wrong with what it says, whether it shows in reading or in building, each with its place.
pub fn load<T, U>(path: &Path, env: &Env<'_>, build: impl FnOnce(&T) -> Result<U, Errors>) -> Result<(Loaded<T>, U), ConfigErrors>
where
    T: DeserializeOwned,
{
    let name = path.display().to_string();
    match fs::read_to_string(path) {
        Ok(text) => load_text(&name, &text, env, build),
        Err(error) => {
            let error = Located {
                file: name.into(),
                line: 0,
                column: 0,
                path: ConfigPath::default(),
                reason: format!("the config cannot be read: {}", plain(&error)),
                fix: mend(&error).into(),
            };
            Err(ConfigErrors { sources: Sources { files: vec![path.to_owned()], globs: Vec::new() }, ..error.into() })
        }
    }
}

/// The same from a text; `name` stands for the file in errors, and its folder is where a relative `${file:…}` begins.
///
/// # Errors
/// Everything that is wrong with it, each with its place.
fn load_text<T, U>(
    name: &str,
    text: &str,
    env: &Env<'_>,
    build: impl FnOnce(&T) -> Result<U, Errors>,
) -> Result<(Loaded<T>, U), ConfigErrors>
where
    T: DeserializeOwned,
{
    let main = Sources { files: vec![name.into()], globs: Vec::new() };
    let (mut tree, mut errors) = parse(name, text).map_err(|error| ConfigErrors { sources: main, ..error.into() })?;
    errors.extend(substitute(&mut tree, env));
    let Document { tree, errors, sources, whole } = assemble(tree, errors, env);
    let result = if whole { complete(&tree, errors, build) } else { Err(ConfigErrors::new(errors)) };
    match result {
        Ok((value, built)) => Ok((Loaded { value, tree, sources }, built)),
        Err(mut errors) => {
            errors.errors.iter_mut().for_each(|error| tree.within_file(&mut error.path));
            Err(ConfigErrors { sources, ..errors })
        }
    }
}

/// Makes of the whole document what it describes.
fn complete<T, U>(tree: &Tree, errors: Vec<Located>, build: impl FnOnce(&T) -> Result<U, Errors>) -> Result<(T, U), ConfigErrors>
where
    T: DeserializeOwned,
{
    let mut draft = gather::<T>(tree, errors)?;
    match build(&draft.value) {
        Ok(built) if draft.errors.is_empty() => return Ok((draft.value, built)),
        Ok(_) => {}
        Err(Errors(found)) => {
            let found = found.iter().filter_map(|error| {
                let other = error.other.as_ref().map(|other| draft.in_document(tree, other));
                draft.original(tree, error).map(|path| locate(tree, path, other, error))
            });
            let found: Vec<_> = found.collect();
            draft.errors.extend(found);
        }
    }
    Err(ConfigErrors::new(draft.errors))
}

/// For tests: reading alone.
#[cfg(test)]
pub fn load_str<T: DeserializeOwned>(name: &str, text: &str, env: &Env<'_>) -> Result<Loaded<T>, ConfigErrors> {
    load_text(name, text, env, |_: &T| Ok(())).map(|(loaded, ())| loaded)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Any = BTreeMap<String, serde_json::Value>;

    const TEXT: &str = "routes:\n  - name: a\n    match:\n      path: users\n  - name: b\nkey: ${KEY}\n";

    /// What is told of these errors of building.
    fn told(errors: Vec<BuildError>) -> ConfigErrors {
        load_text("conf/tidegate.yaml", TEXT, &|_| Some("hunter2".into()), |_: &Any| Err::<(), _>(Errors(errors))).unwrap_err()
    }

    #[test]
    fn an_error_of_building_is_told_with_its_place() {
        let error = BuildError::new("must start with `/`", "write `/users`").at("path").at("match").at(0).at("routes");
        assert_eq!(
            told(vec![error]).to_string(),
            "conf/tidegate.yaml:4:13: routes[0].match.path: must start with `/`\n    fix: write `/users`\n1 error"
        );
    }

    #[test]
    fn a_mapping_is_named_by_its_key_and_a_path_that_is_not_there_by_its_parent() {
        let at = |error: BuildError| {
            let found = told(vec![error]).errors.remove(0);
            (found.line, found.column, found.path.to_string())
        };
        let new = || BuildError::new("x", "y");
        assert_eq!(at(new().at("match").at(0).at("routes")), (3, 5, "routes[0].match".into()));
        assert_eq!(at(new().at("methods").at("match").at(0).at("routes")), (3, 5, "routes[0].match.methods".into()));
        assert_eq!(at(new().at("to").at(1).at("routes")), (5, 5, "routes[1].to".into()));
        assert_eq!(at(new()), (1, 1, String::new()));
    }

    #[test]
    fn an_error_of_building_shows_no_secret() {
        let error = BuildError::new("`hunter2` is too short", "not `hunter2`").at("key");
        assert_eq!(told(vec![error]).errors[0].to_string(), "conf/tidegate.yaml:6:6: key: `***` is too short\n    fix: not `***`");
    }

    #[test]
    fn many_errors_of_building_come_in_the_order_of_the_file() {
        let errors = vec![BuildError::new("second", "").at("key"), BuildError::new("first", "").at("routes")];
        assert_eq!(told(errors).to_string(), "conf/tidegate.yaml:1:1: routes: first\nconf/tidegate.yaml:6:6: key: second\n2 errors");
    }

    #[derive(Deserialize)]
    struct Doc {
        #[serde(default)]
        count: u8,
        #[serde(default)]
        names: Vec<u8>,
    }

    #[test]
    fn errors_of_reading_and_of_building_are_told_together_and_each_once() {
        let text = "count: many\nnames:\n  - x\n  - 7\n  - 8\n";
        let build = |doc: &Doc| {
            assert_eq!((doc.count, &doc.names[..]), (0, &[7, 8][..]));
            let second = BuildError::new("too large", "").at(1).at("names");
            Err::<(), _>(Errors(vec![second, BuildError::new("too small", "").at("count")]))
        };
        let Err(errors) = load_text("t.yaml", text, &|_| None, build) else { panic!("three mistakes") };
        let told: Vec<_> = errors.errors.iter().map(|error| (error.line, error.path.to_string())).collect();
        // `count` was not read, so nothing more can be said of it; the second of what is left of `names` is the third in the file.
        assert_eq!(told, [(1, "count".to_owned()), (3, "names[0]".to_owned()), (5, "names[2]".to_owned())]);
    }

    #[test]
    fn a_name_is_not_missing_where_its_entry_could_not_be_read() {
        let text = "routes: [{ to: users }]\nservices:\n  users: 7\n  other: {}\n";
        #[derive(Deserialize)]
        struct Doc {
            services: BTreeMap<String, BTreeMap<String, u8>>,
        }
        let build = |doc: &Doc| {
            assert_eq!(doc.services.len(), 1);
            let error = |name: &str| BuildError::unknown("service", name, ["other"]).at("to").at(0).at("routes");
            Err::<(), _>(Errors(vec![error("users"), error("nobody")]))
        };
        let Err(errors) = load_text("t.yaml", text, &|_| None, build) else { panic!("two mistakes") };
        let told: Vec<_> = errors.errors.iter().map(|error| error.reason.as_str()).collect();
        assert_eq!(told.len(), 2 + 1, "{told:?}");
        assert!(told.contains(&"there is no service `nobody`"));
        assert!(!told.iter().any(|reason| reason.contains("`users`")));
    }

    #[test]
    fn a_file_that_is_not_there_is_one_error_with_its_name() {
        let errors = load(Path::new("/no/such.yaml"), &process_env, |_: &Any| Ok(())).unwrap_err();
        assert!(errors.to_string().starts_with("/no/such.yaml: the config cannot be read: there is no such file\n    fix: "));
    }

    #[test]
    fn an_empty_file_gives_every_default() {
        assert!(load_str::<Any>("t.yaml", "", &process_env).unwrap().value.is_empty());
    }
}
