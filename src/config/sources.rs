use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

/// How globs are read: `*` ends at a slash, `**` does not, and neither takes hidden files.
const GLOB: MatchOptions = MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// Where a config came from: what to watch for changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Each file that was named, whether it could be read or not; the main file first.
    pub files: Vec<PathBuf>,
    /// Each glob, with the folder of the file that it stands in.
    pub globs: Vec<(PathBuf, String)>,
}

impl Sources {
    /// Whether a name stands for those that are like it.
    pub fn is_glob(name: &str) -> bool {
        name.contains(['*', '?', '['])
    }

    /// The files that a glob names, in the order of their names.
    ///
    /// # Errors
    /// Why it is no glob.
    pub fn glob(&mut self, folder: &Path, glob: &str) -> Result<Vec<PathBuf>, &'static str> {
        self.globs.push((folder.to_owned(), glob.to_owned()));
        let found = glob::glob_with(&full(folder, glob), GLOB).map_err(|error| error.msg)?;
        Ok(found.filter_map(Result::ok).filter(|path| path.is_file()).collect())
    }

    /// Whether a file is one of these, or would be if the config was read again. All of one spelling: see [`Sources::absolute`].
    pub fn has(&self, file: &Path) -> bool {
        self.files.iter().any(|known| known == file)
            || self
                .globs
                .iter()
                .any(|(folder, glob)| Pattern::new(&full(folder, glob)).is_ok_and(|glob| glob.matches_path_with(file, GLOB)))
    }

    /// The same by whole paths, as the system names what has changed.
    #[must_use]
    pub fn absolute(&self) -> Self {
        let whole = |path: &Path| match path.as_os_str().is_empty() {
            true => std::env::current_dir().unwrap_or_default(),
            false => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        };
        Self {
            files: self.files.iter().map(|file| whole(file)).collect(),
            globs: self.globs.iter().map(|(folder, glob)| (whole(folder), glob.clone())).collect(),
        }
    }

    /// The folders of all files, where new ones would be too; with those below it where a glob reaches there.
    pub fn folders(&self) -> Vec<(PathBuf, bool)> {
        let files = self.files.iter().map(|file| (file.parent().unwrap_or(Path::new("")).to_owned(), false));
        let globs = self.globs.iter().map(|(folder, glob)| {
            let fixed = glob.split('/').take_while(|part| !Self::is_glob(part)).count();
            let parts: Vec<&str> = glob.split('/').collect();
            let below = parts.get(..fixed).unwrap_or_default().join("/");
            let folder = if glob.starts_with('/') { PathBuf::from(format!("{below}/")) } else { folder.join(below) };
            (folder, fixed + 1 < parts.len())
        });
        let mut folders: Vec<(PathBuf, bool)> = Vec::new();
        for (folder, below) in files.chain(globs) {
            match folders.iter_mut().find(|(known, _)| *known == folder) {
                Some((_, known)) => *known |= below,
                None => folders.push((folder, below)),
            }
        }
        folders
    }
}

/// The glob as a path, where nothing in the folder's name has a meaning.
fn full(folder: &Path, glob: &str) -> String {
    if glob.starts_with('/') || folder.as_os_str().is_empty() {
        return glob.to_owned();
    }
    format!("{}/{glob}", Pattern::escape(&folder.display().to_string()))
}
