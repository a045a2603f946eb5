//! What can go wrong while a config becomes a running gateway, and how all of it is gathered before anything changes.

use std::fmt;
use std::fs;
use std::io::Read;
use std::path::Path;

/// One step from the root of the config to the place that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A key of a mapping.
    Key(String),
    /// A zero-based place in a list.
    Index(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Step::Key(key.to_owned())
    }
}

impl From<String> for Step {
    fn from(key: String) -> Self {
        Step::Key(key)
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Step::Index(index)
    }
}

/// A place in the config, from the root down: `routes[3].policies[0].jwt.issuer`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConfigPath(pub Vec<Step>);

impl fmt::Display for ConfigPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if depth == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

/// One reason why a config cannot be built. The place in the file is found later, from `path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError {
    /// Where, relative to what was being built; each caller adds its own step with [`BuildError::at`].
    pub path: ConfigPath,
    /// What is wrong, lower case, without a full stop.
    pub reason: String,
    /// What to do about it, in plain words.
    pub fix: String,
    /// The other place that it is about, relative as `path` is: where a name stands already, the other of two routes.
    pub other: Option<ConfigPath>,
    /// The name of what is not there, where that is the mistake: it may be there and just not readable.
    pub missing: Option<String>,
}

impl BuildError {
    /// An error at the place being built.
    pub fn new(reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { path: ConfigPath::default(), reason: reason.into(), fix: fix.into(), other: None, missing: None }
    }

    /// A name that stands for nothing, with the nearest known one.
    pub fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Self {
        let fix = match did_you_mean(name, known.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => match known.into_iter().collect::<Vec<_>>().join(", ") {
                none if none.is_empty() => format!("there is no {what} at all"),
                all => format!("there are: {all}"),
            },
        };
        Self { missing: Some(name.to_owned()), ..Self::new(format!("there is no {what} `{name}`"), fix) }
    }

    /// Puts one step in front of the path: called from the inside out.
    #[must_use]
    pub fn at(mut self, step: impl Into<Step>) -> Self {
        let step = step.into();
        if let Some(other) = &mut self.other {
            other.0.insert(0, step.clone());
        }
        self.path.0.insert(0, step);
        self
    }

    /// Names the other place that the error is about, relative to where the path stands now.
    #[must_use]
    pub fn beside(mut self, other: impl IntoIterator<Item = Step>) -> Self {
        self.other = Some(ConfigPath(other.into_iter().collect()));
        self
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.path, self.reason, self.fix)
    }
}

/// Every error of one build. Building goes on past an error as far as it can, so that all are told at once.
#[derive(Clone, Debug, Default)]
pub struct Errors(pub Vec<BuildError>);

impl Errors {
    /// Notes one error.
    pub fn push(&mut self, error: BuildError) {
        self.0.push(error);
    }

    /// Keeps the value, or notes the error under `steps` (outermost first) and goes on without it.
    pub fn keep<T>(&mut self, steps: &[Step], result: Result<T, BuildError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(mut error) => {
                for path in [Some(&mut error.path), error.other.as_mut()].into_iter().flatten() {
                    path.0.splice(0..0, steps.iter().cloned());
                }
                self.0.push(error);
                None
            }
        }
    }

    /// `value` if nothing went wrong, else every error.
    ///
    /// # Errors
    /// All that were noted.
    pub fn finish<T>(self, value: T) -> Result<T, Errors> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

/// The known word nearest to a mistyped one, if one is near enough to be meant.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The longest file that is read, where nothing else is said.
const LONGEST: u64 = 1024 * 1024;

/// Reads a file that a setting names, from the folder of the config.
///
/// # Errors
/// The system's, and that it is too long.
pub fn read_file(folder: &Path, name: &str) -> Result<Vec<u8>, BuildError> {
    read_up_to(folder, name, LONGEST)
}

/// The same for a file of so many bytes at most.
///
/// # Errors
/// The system's, and that it is too long.
pub fn read_up_to(folder: &Path, name: &str, most: u64) -> Result<Vec<u8>, BuildError> {
    let path = folder.join(name);
    let wrong = |why: &dyn fmt::Display| {
        BuildError::new(format!("cannot read {}: {why}", path.display()), "check the name and the rights of the file")
    };
    let mut content = Vec::new();
    let opened = fs::File::open(&path).map_err(|error| wrong(&error))?;
    opened.take(most + 1).read_to_end(&mut content).map_err(|error| wrong(&error))?;
    if content.len() as u64 > most {
        return Err(wrong(&format_args!("it is longer than {} MiB", most / (1024 * 1024))));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_from_the_root() {
        let error = BuildError::new("is empty", "name an issuer").at("issuer").at("jwt").at(0).at("policies").at(3).at("routes");
        assert_eq!(error.path.to_string(), "routes[3].policies[0].jwt.issuer");
    }

    #[test]
    fn a_near_word_is_suggested_and_a_far_one_is_not() {
        assert_eq!(did_you_mean("timout", ["timeouts", "targets"]), Some("timeouts"));
        assert_eq!(did_you_mean("banana", ["timeouts", "targets"]), None);
    }
}
