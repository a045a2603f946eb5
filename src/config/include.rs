//! Several files read as one document.
//!
//! `include:` names files, or globs, from the folder of the file it stands in. Each is a document with `consumers`, `services`, `routes`, and an
//! `include` of its own. Lists are one behind the other: a file's own entries, then those of the files it includes, in the order named; a glob's in the
//! order of their names. What is for the whole gateway stands in the main file alone, so that a file cannot change what is above its own routes.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::located::Located;
use super::parse::parse;
use super::scalar::{Kind, Scalar};
use super::sources::Sources;
use super::substitute::{Env, mend, plain, substitute};
use super::tree::{Entry, Node, Place, Tree, Value, located, said};
use crate::building::{ConfigPath, Step};

/// How deep files may include each other.
const MAX_DEPTH: usize = 8;

/// How many files may be included.
const MAX_FILES: usize = 10_000;

/// What is for the whole gateway.
const MAIN_ONLY: [&str; 8] = ["server", "admin", "access_log", "paths", "redis", "identity", "signing", "policies"];

/// A document put together from its files.
pub struct Document {
    pub tree: Tree,
    pub errors: Vec<Located>,
    pub sources: Sources,
    /// False where a file is missing: then nothing can be said of what the others ask of it.
    pub whole: bool,
}

/// Reads the files that the main document includes, and puts everything into its tree.
pub fn assemble(main: Tree, errors: Vec<Located>, env: &Env<'_>) -> Document {
    let path = PathBuf::from(main.files.first().map_or("", |name| &**name));
    let canonical = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
    let included = match &main.root.value {
        Value::Map(entries) => entries.iter().find(|entry| entry.name() == "include").map(|entry| entry.value.clone()),
        _ => None,
    };
    let sources = Sources { files: vec![path.clone()], globs: Vec::new() };
    let document = Document { tree: main, errors, sources, whole: true };
    let mut assembly = Assembly { env, document, open: vec![canonical.clone()], seen: HashMap::from([(canonical, Place::default())]) };
    if let Some(list) = included {
        assembly.list(&list, &path);
    }
    assembly.document
}

struct Assembly<'e> {
    env: &'e Env<'e>,
    document: Document,
    /// The files that are being read, each included by the one before.
    open: Vec<PathBuf>,
    /// Every file so far, and where it is included.
    seen: HashMap<PathBuf, Place>,
}

impl Assembly<'_> {
    /// What an `include:` of `file` says. That it is a list of texts is checked here for all but the main file, whose `include` stays in the tree.
    fn list(&mut self, list: &Node, file: &Path) {
        let items = match &list.value {
            Value::List(items) => items.as_slice(),
            Value::Scalar(_) if list.place.file > 0 => {
                return self.refuse(list.place, None, "expected a list of files", "begin each entry with `- `");
            }
            _ => return,
        };
        let folder = file.parent().unwrap_or(Path::new(""));
        for (index, item) in items.iter().enumerate() {
            match &item.value {
                Value::Scalar(Scalar { text, .. }) if Sources::is_glob(text) => self.glob(folder, text, item.place, index),
                Value::Scalar(Scalar { text, .. }) => self.file(&folder.join(text), item.place, index, false),
                _ if list.place.file > 0 => {
                    self.refuse(item.place, Some(index), "expected a file", "write its name, or a glob like `teams/*.yaml`")
                }
                _ => {}
            }
        }
    }

    fn glob(&mut self, folder: &Path, glob: &str, place: Place, index: usize) {
        let files = match self.document.sources.glob(folder, glob) {
            Ok(files) => files,
            Err(why) => return self.refuse(place, Some(index), &format!("this is no glob: {why}"), "write one like `teams/*.yaml`"),
        };
        if files.is_empty() {
            let fix = "check the path; for a folder that may be empty, lay an empty file into it";
            return self.lack(place, index, &format!("no file matches `{glob}`"), fix);
        }
        for file in files {
            self.file(&file, place, index, true);
        }
    }

    fn file(&mut self, path: &Path, place: Place, index: usize, by_glob: bool) {
        let name = path.display();
        let canonical = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if self.open.contains(&canonical) {
            // A glob over a file's own folder does not mean the file itself.
            if !by_glob {
                self.refuse(place, Some(index), &format!("`{name}` would include itself"), "remove it");
            }
            return;
        }
        if let Some(first) = self.seen.get(&canonical) {
            let reason = format!("`{name}` is included twice; the first is at {}", said(&self.document.tree.files, *first));
            return self.refuse(place, Some(index), &reason, "keep one of the two");
        }
        if self.open.len() > MAX_DEPTH {
            return self.refuse(
                place,
                Some(index),
                &format!("files include each other more than {MAX_DEPTH} deep"),
                "name them in the main file",
            );
        }
        let Some(number) = u16::try_from(self.document.tree.files.len()).ok().filter(|count| usize::from(*count) <= MAX_FILES) else {
            return self.refuse(place, Some(index), &format!("more than {MAX_FILES} files are included"), "use fewer and larger ones");
        };
        self.seen.insert(canonical.clone(), place);
        self.document.sources.files.push(path.to_owned());
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                return self.lack(place, index, &format!("`{name}` cannot be read: {}", plain(&error)), mend(&error));
            }
        };
        let (mut tree, mut errors) = match parse(&name.to_string(), &text) {
            Ok(read) => read,
            Err(error) => {
                self.document.whole = false;
                return self.document.errors.push(error);
            }
        };
        errors.extend(substitute(&mut tree, self.env));
        self.document.tree.files.extend(tree.files);
        let mut root = tree.root;
        number_places(&mut root, number);
        self.open.push(canonical);
        self.add(root, errors, path);
        self.open.pop();
    }

    /// Puts what a file says behind what is there.
    fn add(&mut self, root: Node, mut errors: Vec<Located>, path: &Path) {
        for error in &mut errors {
            self.lengthen(&mut error.path);
        }
        self.document.errors.extend(errors);
        let Value::Map(entries) = root.value else {
            let reason = "expected a mapping with `services`, `routes` or `consumers`";
            let error = self.document.tree.error(root.place, ConfigPath::default(), reason, "write `key: value` lines");
            return self.document.errors.push(error);
        };
        let mut included = None;
        for entry in entries {
            match entry.name() {
                "include" => included = Some(entry.value),
                name if MAIN_ONLY.contains(&name) => {
                    let reason = format!("`{name}` is for the whole gateway, and this file is included");
                    let main = self.document.tree.files.first().cloned().unwrap_or_default();
                    let fix = if name == "policies" {
                        format!("write policies at the routes and services here, or move it to {main}")
                    } else {
                        format!("move it to {main}")
                    };
                    let key = ConfigPath(vec![name.into()]);
                    let error = self.document.tree.error(entry.key.place, key, reason, fix);
                    self.document.errors.push(error);
                }
                _ => self.join(entry),
            }
        }
        if let Some(list) = included {
            self.list(&list, path);
        }
    }

    fn join(&mut self, entry: Entry) {
        let path = |more: Option<&str>| ConfigPath([entry.name()].into_iter().chain(more).map(Step::from).collect());
        let Document { tree: Tree { root: Node { value: Value::Map(root), .. }, files }, errors, .. } = &mut self.document else { return };
        let Some(known) = root.iter_mut().find(|known| known.name() == entry.name()) else { return root.push(entry) };
        match (&mut known.value.value, &entry.value.value) {
            (_, more) if is_nothing(more) => {}
            (nothing, more) if is_nothing(nothing) => *nothing = more.clone(),
            (Value::List(all), Value::List(more)) => all.extend(more.iter().cloned()),
            (Value::Map(all), Value::Map(more)) => {
                let mut places: HashMap<String, Place> = all.iter().map(|known| (known.name().to_owned(), known.key.place)).collect();
                for named in more {
                    let place = named.key.place;
                    match places.get(named.name()) {
                        Some(first) => {
                            let reason = format!("`{}` is here a second time; the first is at {}", named.name(), said(files, *first));
                            let fix = "keep one of the two, or give one another name";
                            errors.push(located(files, place, path(Some(named.name())), reason, fix));
                        }
                        None => {
                            places.insert(named.name().to_owned(), place);
                            all.push(named.clone());
                        }
                    }
                }
            }
            (wanted, _) => {
                let wanted = if matches!(wanted, Value::Map(_)) { "a mapping" } else { "a list" };
                errors.push(located(files, entry.key.place, path(None), format!("expected {wanted}"), format!("write {wanted}")));
            }
        }
    }

    /// The path that what stands in the next file gets in the whole document.
    fn lengthen(&self, path: &mut ConfigPath) {
        if let [Step::Key(name), Step::Index(index), ..] = path.0.as_mut_slice()
            && let Some(Value::List(items)) = self.document.tree.root.entry(name).map(|entry| &entry.value.value)
        {
            *index += items.len();
        }
    }

    fn refuse(&mut self, place: Place, index: Option<usize>, reason: &str, fix: &str) {
        let path = ConfigPath([Step::from("include")].into_iter().chain(index.map(Step::from)).collect());
        let error = self.document.tree.error(place, path, reason, fix);
        self.document.errors.push(error);
    }

    /// The same for a file that is not there.
    fn lack(&mut self, place: Place, index: usize, reason: &str, fix: &str) {
        self.document.whole = false;
        self.refuse(place, Some(index), reason, fix);
    }
}

fn is_nothing(value: &Value) -> bool {
    matches!(value, Value::Broken | Value::Scalar(Scalar { kind: Kind::Null, .. }))
}

/// Says of everything in a file which file that is.
fn number_places(node: &mut Node, file: u16) {
    node.place.file = file;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| number_places(item, file)),
        Value::Map(entries) => entries.iter_mut().for_each(|entry| {
            number_places(&mut entry.key, file);
            number_places(&mut entry.value, file);
        }),
        Value::Scalar(_) | Value::Broken => {}
    }
}
