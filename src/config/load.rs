use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::de::{De, Known};
use super::fault::{self, replace_values};
use super::gather::{gather, secrets};
use super::located::{ConfigErrors, Located};
use super::parse::parse;
use super::substitute::{Env, plain, substitute};
use super::tree::Tree;
use crate::building::{BuildError, ConfigPath};

/// A config that was read, and the document it was read from: what later fails to build is told with its place.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The config.
    pub value: T,
    /// The document, with `${…}` replaced.
    pub tree: Tree,
}

impl<T> Loaded<T> {
    /// Gives an error of building its place in the file: for a leaf, that of the value; for a list or mapping, that of the key it stands
    /// behind; in a list, that of the entry. If the path is not in the file (a key that was left out), the nearest part above it counts.
    /// Values from the environment and from files are replaced by `***`.
    pub fn locate(&self, error: &BuildError) -> Located {
        let (node, place) = self.tree.find(&error.path);
        let conceal = |text: &str| replace_values(fault::conceal(text.to_owned(), node), secrets(&self.tree).into_iter());
        self.tree.error(place, error.path.clone(), conceal(&error.reason), conceal(&error.fix))
    }

    /// What the document says, as plain data: to compare two of them.
    pub fn json(&self) -> serde_json::Value {
        serde_json::Value::deserialize(De::new(&self.tree.root, &Known::default())).unwrap_or_default()
    }

    /// [`Loaded::locate`] for all errors of a build.
    pub fn locate_all<'e>(&self, errors: impl IntoIterator<Item = &'e BuildError>) -> ConfigErrors {
        ConfigErrors::new(errors.into_iter().map(|error| self.locate(error)).collect())
    }
}

/// The environment of this process; a value that is not UTF-8 counts as unset.
pub fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads a config file.
///
/// # Errors
/// A file that cannot be read, and everything that is wrong with what it says, each with its place.
pub fn load<T: DeserializeOwned>(path: &Path, env: &Env<'_>) -> Result<Loaded<T>, ConfigErrors> {
    let name = path.display().to_string();
    match fs::read_to_string(path) {
        Ok(text) => load_str(&name, &text, env),
        Err(error) => Err(ConfigErrors::from(Located {
            file: name.into(),
            line: 0,
            column: 0,
            path: ConfigPath::default(),
            reason: format!("the config cannot be read: {}", plain(&error)),
            fix: "check the path, and that the gateway's user may read the file".into(),
        })),
    }
}

/// Reads a config from a text; `name` stands for the file in errors, and its folder is where a relative `${file:…}` begins.
///
/// # Errors
/// Everything that is wrong with it, each with its place.
pub fn load_str<T: DeserializeOwned>(name: &str, text: &str, env: &Env<'_>) -> Result<Loaded<T>, ConfigErrors> {
    let (mut tree, mut errors) = parse(name, text)?;
    errors.extend(substitute(&mut tree, env));
    let value = gather(&tree, errors)?;
    Ok(Loaded { value, tree })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Any = BTreeMap<String, serde_json::Value>;

    fn loaded() -> Loaded<Any> {
        let text = "routes:\n  - name: a\n    match:\n      path: users\n  - name: b\nkey: ${KEY}\n";
        load_str("conf/tidegate.yaml", text, &|_| Some("hunter2".into())).unwrap()
    }

    #[test]
    fn an_error_of_building_is_told_with_its_place() {
        let error = BuildError::new("must start with `/`", "write `/users`").at("path").at("match").at(0).at("routes");
        assert_eq!(
            loaded().locate(&error).to_string(),
            "conf/tidegate.yaml:4:13: routes[0].match.path: must start with `/`\n    fix: write `/users`"
        );
    }

    #[test]
    fn a_mapping_is_named_by_its_key_and_a_path_that_is_not_there_by_its_parent() {
        let loaded = loaded();
        let at = |error: BuildError| {
            let found = loaded.locate(&error);
            (found.line, found.column, found.path.to_string())
        };
        let new = || BuildError::new("x", "y");
        assert_eq!(at(new().at("match").at(0).at("routes")), (3, 5, "routes[0].match".into()));
        assert_eq!(at(new().at("methods").at("match").at(0).at("routes")), (3, 5, "routes[0].match.methods".into()));
        assert_eq!(at(new().at("to").at(1).at("routes")), (5, 5, "routes[1].to".into()));
        assert_eq!(at(new().at(7).at("routes")), (1, 1, "routes[7]".into()));
        assert_eq!(at(new()), (1, 1, String::new()));
    }

    #[test]
    fn an_error_of_building_shows_no_secret() {
        let error = BuildError::new("`hunter2` is too short", "not `hunter2`").at("key");
        assert_eq!(loaded().locate(&error).to_string(), "conf/tidegate.yaml:6:6: key: `***` is too short\n    fix: not `***`");
    }

    #[test]
    fn many_errors_of_building_come_in_the_order_of_the_file() {
        let errors = [BuildError::new("second", "").at("key"), BuildError::new("first", "").at("routes")];
        assert_eq!(
            loaded().locate_all(&errors).to_string(),
            "conf/tidegate.yaml:1:1: routes: first\nconf/tidegate.yaml:6:6: key: second\n2 errors"
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_one_error_with_its_name() {
        let errors = load::<Any>(Path::new("/no/such.yaml"), &process_env).unwrap_err();
        assert!(errors.to_string().starts_with("/no/such.yaml: the config cannot be read: there is no such file\n    fix: "));
    }

    #[test]
    fn an_empty_file_gives_every_default() {
        assert!(load_str::<Any>("t.yaml", "", &process_env).unwrap().value.is_empty());
    }
}
