//! The order of the house: `src/lib.rs` lists the rooms, and each uses only those above it. So a reader who starts at the top meets nothing unknown,
//! and data moves one way.

use std::path::{Path, PathBuf};

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The modules that a `mod` list names, in its order.
pub fn list(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("pub ").unwrap_or(line).strip_prefix("mod ")?.strip_suffix(';'));
    lines.map(ToOwned::to_owned).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// What follows `path` in the code of a file, with the numbers of the lines; comments may name anything.
fn named(text: &str, path: &str) -> Vec<(usize, String)> {
    let code = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    let found = code.flat_map(|(at, line)| line.split(path).skip(1).map(move |rest| (at + 1, rest)));
    found.map(|(at, rest)| (at, rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())).collect()
}

/// Says where a file below `folder` names a module, after `path`, that stands below the file's own in the list of `face`.
fn below(face: &Path, folder: &Path, path: &str) -> Vec<String> {
    let order = list(face);
    let place = |name: &str| order.iter().position(|known| known == name);
    let mut wrong = Vec::new();
    for file in files(folder) {
        let first = file.strip_prefix(folder).unwrap().components().next().unwrap().as_os_str().to_str().unwrap();
        let Some(own) = place(first.trim_end_matches(".rs")) else { continue };
        if only_tests(&file) {
            continue;
        }
        for (line, other) in named(&std::fs::read_to_string(&file).unwrap(), path) {
            if place(&other).is_some_and(|other| other > own) {
                wrong.push(format!("{}:{line} uses {other}, which is below {first}", file.display()));
            }
        }
    }
    wrong
}

/// Whether the file is a module of tests and what they stand on: those may use the whole house.
fn only_tests(file: &Path) -> bool {
    let (Some(folder), Some(stem)) = (file.parent(), file.file_stem()) else { return false };
    let face = std::fs::read_to_string(folder.join("mod.rs")).unwrap_or_default();
    let stem = stem.to_str().unwrap();
    ["mod", "pub(crate) mod"].iter().any(|how| face.contains(&format!("#[cfg(test)]\n{how} {stem};")))
}

#[test]
fn a_room_uses_only_the_rooms_above_it() {
    let wrong = below(&src().join("lib.rs"), &src(), "crate::");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_room_that_says_so_keeps_its_own_order() {
    let faces = files(&src()).into_iter().filter(|path| path.ends_with("mod.rs"));
    let ordered: Vec<_> =
        faces.filter(|face| std::fs::read_to_string(face).unwrap().contains("// Each uses only those above it.")).collect();
    assert!(!ordered.is_empty());
    let wrong: Vec<_> = ordered.iter().flat_map(|face| below(face, face.parent().unwrap(), "super::")).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_room_of_the_map_says_its_purpose() {
    let text = std::fs::read_to_string(src().join("lib.rs")).unwrap();
    let lines: Vec<_> = text.lines().collect();
    for (line, next) in lines.iter().zip(&lines[1..]) {
        assert!(!next.starts_with("pub mod ") || line.starts_with("/// "), "`{next}` has no purpose");
    }
}

#[test]
fn files_are_short_and_folders_flat() {
    for file in files(&src()) {
        let count = std::fs::read_to_string(&file).unwrap().lines().count();
        assert!(count <= 400, "{} has {count} lines: make it a folder with the same face", file.display());
        let depth = file.strip_prefix(src()).unwrap().components().count();
        assert!(depth <= 4, "{} lies more than three folders deep", file.display());
    }
}

#[test]
fn every_dependency_is_used_and_says_why_it_is_here() {
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let (_, list) = manifest.split_once("[dependencies]\n").unwrap();
    let lines: Vec<_> = list.lines().take_while(|line| !line.starts_with('[')).filter(|line| !line.is_empty()).collect();
    let code: String = files(&src()).iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let name = line.split(' ').next().unwrap();
        assert!(at > 0 && lines[at - 1].starts_with("# "), "{name} does not say why it is here");
        assert!(code.contains(&format!("{}::", name.replace('-', "_"))), "nothing uses {name}");
    }
}

#[test]
fn every_policy_is_measured() {
    let benches = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("benches"));
    let code: String = benches.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    for name in tidegate::policy::NAMES {
        let groups = [format!("benchmark_group(\"{name}\")"), format!("Group::of(c, \"{name}\")")];
        assert!(groups.iter().any(|group| code.contains(group)), "no benchmark has a group `{name}`: add one to benches/policies.rs");
    }
}
