use indexmap::IndexMap;

use super::super::path::Path;
use super::Shape;
use super::config::ShapeConfig;
use super::node::{Arrival, Fate, Move, New, Node, Rest, Way};
use crate::building::{BuildError, Errors, Step};

/// A path and where it is written, for what is said of it.
struct Written {
    path: Path,
    place: [Step; 2],
}

impl Written {
    fn error(&self, reason: String, fix: &str) -> BuildError {
        let [field, entry] = self.place.clone();
        BuildError::new(reason, fix).at(entry).at(field)
    }

    fn beside(&self, other: &Written, reason: String, fix: &str) -> BuildError {
        let error = self.error(reason, fix);
        error.beside(other.place.clone())
    }
}

impl Shape {
    /// Compiles the settings.
    ///
    /// # Errors
    /// Whatever is no path; where all are paths, those that contradict each other, and what could never happen. Relative to the settings.
    pub fn build(config: &ShapeConfig) -> Result<Self, Errors> {
        let mut errors = Errors::default();
        let mut single = |path: &Option<String>, field: &str| errors.keep(&[field.into()], Path::parse(path.as_ref()?));
        let (take, wrap) = (single(&config.take, "take"), single(&config.wrap, "wrap"));
        let draft = Draft {
            pick: list(&config.pick, "pick", &mut errors),
            drop: list(&config.drop, "drop", &mut errors),
            rename: pairs(&config.rename, "rename", &mut errors),
            moves: pairs(&config.moves, "move", &mut errors),
            flatten: list(&config.flatten, "flatten", &mut errors),
        };
        // What the paths are to each other is not known where one is none.
        if errors.0.is_empty() {
            draft.check_choice(&mut errors);
            draft.check_reach(&mut errors);
            draft.check_places(&mut errors);
        }
        if !errors.0.is_empty() {
            return Err(errors);
        }
        Ok(Self { take, root: draft.root(), moves: draft.moves.len(), wrap: wrap.iter().flat_map(Path::names).map(New::of).collect() })
    }
}

fn list(config: &[String], field: &'static str, errors: &mut Errors) -> Vec<Written> {
    let entry = |(index, text): (usize, &String)| {
        let place = [field.into(), index.into()];
        let path = errors.keep(&place, Path::parse(text))?;
        Some(Written { path, place })
    };
    config.iter().enumerate().filter_map(entry).collect()
}

fn pairs(config: &IndexMap<String, String>, field: &'static str, errors: &mut Errors) -> Vec<(Written, Path)> {
    let entry = |(from, to): (&String, &String)| {
        let place = [field.into(), from.as_str().into()];
        let (path, to) = (errors.keep(&place, Path::parse(from)), errors.keep(&place, Path::parse(to)));
        Some((Written { path: path?, place }, to?))
    };
    config.iter().filter_map(entry).collect()
}

struct Draft {
    pick: Vec<Written>,
    drop: Vec<Written>,
    rename: Vec<(Written, Path)>,
    moves: Vec<(Written, Path)>,
    flatten: Vec<Written>,
}

/// Every two of a list, each once.
fn couples<T>(list: &[T]) -> impl Iterator<Item = (&T, &T)> {
    list.iter().enumerate().flat_map(move |(place, second)| list.iter().take(place).map(move |first| (first, second)))
}

impl Draft {
    /// What is picked and dropped.
    fn check_choice(&self, errors: &mut Errors) {
        for (first, second) in couples(&self.pick).chain(couples(&self.drop)) {
            let (outer, inner) = if first.path.holds(&second.path) { (first, second) } else { (second, first) };
            if outer.path.holds(&inner.path) {
                let reason = format!("`{}` is part of `{}`, which stands here too", inner.path, outer.path);
                errors.push(inner.beside(outer, reason, "leave one of them out"));
            }
        }
        for drop in &self.drop {
            if let Some(pick) = self.pick.iter().find(|pick| drop.path.holds(&pick.path)) {
                let reason = format!("`{}` is dropped and `{}` picked", drop.path, pick.path);
                errors.push(drop.beside(pick, reason, "leave one of them out"));
            } else if !self.pick.is_empty() && !self.pick.iter().any(|pick| pick.path.holds(&drop.path)) {
                errors.push(drop.error(format!("`{}` is not picked, so it is not there to be dropped", drop.path), "leave it out here"));
            }
        }
    }

    /// Everything that is said to happen to a place, beside picking it.
    fn fates(&self) -> impl Iterator<Item = (&Written, Fate)> {
        let moved = self.moves.iter().enumerate().map(|(number, (from, _))| (from, Fate::Moved(number)));
        let renamed = self.rename.iter().map(|(from, _)| (from, Fate::Renamed));
        renamed.chain(moved).chain(self.flatten.iter().map(|lifted| (lifted, Fate::Lifted)))
    }

    /// Only what is left after picking and dropping can be put elsewhere, and only once.
    fn check_reach(&self, errors: &mut Errors) {
        for (written, _) in self.fates() {
            let path = &written.path;
            let picked = self.pick.is_empty() || self.pick.iter().any(|pick| pick.path.holds(path) || path.holds(&pick.path));
            if !picked {
                errors.push(written.error(format!("`{path}` is not picked, so it is never there"), "pick it too"));
            } else if let Some(drop) = self.drop.iter().find(|drop| drop.path.holds(path)) {
                errors.push(written.beside(drop, format!("`{path}` is dropped, so it is never there"), "leave one of them out"));
            }
        }
        let all: Vec<_> = self.fates().map(|(written, _)| written).collect();
        for (first, second) in couples(&all).filter(|(first, second)| first.path == second.path) {
            let fix = "do one of them: a move may give a new name too";
            errors.push(second.beside(first, format!("`{}` is already put elsewhere", second.path), fix));
        }
    }

    /// Where things are put.
    fn check_places(&self, errors: &mut Errors) {
        for (from, to) in &self.rename {
            if to.steps.len() != 1 {
                let fix = "write `\\.` for a dot in the name; `move` puts a value elsewhere";
                errors.push(from.error(format!("`{to}` is a path, and not one name"), fix));
            } else if from.path.names().next_back() == to.names().next() {
                errors.push(from.error(format!("`{to}` is the name that it has already"), "leave it out"));
            }
        }
        let renames = self.rename.iter().filter(|(_, to)| to.steps.len() == 1);
        let places: Vec<_> = renames.map(|(from, to)| (from, renamed(&from.path, to))).collect();
        let moves = self.moves.iter().map(|(from, to)| (from, to.clone()));
        for (to, (other, _)) in moves.clone().flat_map(|to| self.moves.iter().map(move |other| (to.clone(), other))) {
            if other.path.holds(&to.1) {
                let reason = format!("it would go to `{}`, and `{}` is moved itself", to.1, other.path);
                errors.push(to.0.error(reason, "name another place: every path names the body as it came"));
            }
        }
        let places: Vec<_> = places.into_iter().chain(moves).collect();
        for (first, second) in couples(&places) {
            // A move goes into what has come at its place, so something else may get a new name within that.
            let moved = |written: &Written| written.place.first() == Some(&"move".into());
            let within = first.1.holds(&second.1) && moved(second.0) || second.1.holds(&first.1) && moved(first.0);
            if first.1 == second.1 || within {
                let reason = format!("it would come to `{}`, where `{}` comes to", second.1, first.0.path);
                errors.push(second.0.beside(first.0, reason, "name another place"));
            }
        }
    }

    fn root(&self) -> Option<Node> {
        let mut root = Node::new("", Rest::Keep, Fate::Stay);
        self.pick.iter().for_each(|pick| root.pick(pick.path.names()));
        self.drop.iter().for_each(|drop| root.reach(drop.path.names()).fate = Fate::Gone);
        for (written, fate) in self.fates() {
            root.reach(written.path.names()).fate = fate;
        }
        for (from, to) in &self.rename {
            root.reach(from.path.names()).name = New::of(to.names().next().unwrap_or_default());
        }
        for (number, (from, to)) in self.moves.iter().enumerate() {
            let longest = from.path.steps.len().min(to.steps.len()).saturating_sub(1);
            let common = from.path.names().zip(to.names()).take(longest).take_while(|(from, to)| from == to).count();
            let cut =
                |path: &Path, less: usize| Path { steps: path.steps.iter().take(path.steps.len() - less).skip(common).cloned().collect() };
            let begin = Move { number, from: cut(&from.path, 0), to: cut(to, 1) };
            root.reach(to.names().take(common)).begins.push(begin);
            let name = New::of(to.names().next_back().unwrap_or_default());
            root.reach(to.names().take(to.steps.len() - 1)).arrivals.push(Arrival { name, number });
        }
        root.finish();
        (root.way != Way::Copied).then_some(root)
    }
}

/// The path of a member with its new name.
fn renamed(from: &Path, to: &Path) -> Path {
    let above = from.steps.iter().take(from.steps.len() - 1);
    Path { steps: above.chain(to.steps.iter()).cloned().collect() }
}
