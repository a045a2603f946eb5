//! The README: its commands print what it shows, its config is one, its tables are those of the source.

use std::path::{Path, PathBuf};

use crate::support::Gateway;
use crate::support::gateway::check;
use crate::support::transcript::scenes;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// What stands between the fences of blocks of that language.
fn blocks(language: &str) -> Vec<String> {
    let (readme, fence) = (read("README.md"), format!("```{language}\n"));
    let blocks = readme.split(&fence).skip(1);
    blocks.map(|block| block.split_once("\n```").unwrap().0.to_owned()).collect()
}

fn holds(name: &str, block: &str) {
    let readme = read("README.md");
    let (_, rest) = readme.split_once(&format!("<!-- {name}: checked by tests/it/readme.rs -->\n")).unwrap();
    let (found, _) = rest.split_once(&format!("<!-- /{name} -->")).unwrap();
    assert!(found == block, "README.md should have there:\n{block}");
}

#[test]
fn the_commands_print_what_the_readme_shows() {
    let config = read("conf/tidegate.yaml").replace("127.0.0.1:8080", "127.0.0.1:0").replace("127.0.0.1:9090", "127.0.0.1:0");
    let gateway = Gateway::start(&config);
    let blocks = blocks("console").join("\n");
    let curls: Vec<_> = scenes(blocks.lines()).into_iter().filter(|scene| scene.command.contains("curl ")).collect();
    assert!(curls.len() >= 8, "the demo is in the README");
    let wrong: Vec<_> = curls.iter().filter_map(|scene| scene.replay(gateway.address).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn the_explanations_are_those_that_the_readme_shows() {
    let blocks = blocks("console").join("\n");
    let scenes = scenes(blocks.lines()).into_iter().filter(|scene| scene.command.starts_with("tidegate explain"));
    let wrong: Vec<_> = scenes
        .map(|mut scene| {
            scene.command =
                scene.command.replacen("tidegate", &format!("cd {} && {}", root().display(), env!("CARGO_BIN_EXE_tidegate")), 1);
            scene.replay(([127, 0, 0, 1], 8080).into())
        })
        .collect();
    assert!(!wrong.is_empty());
    assert!(wrong.iter().all(Result::is_ok), "{wrong:?}");
}

#[test]
fn the_config_of_the_readme_is_one() {
    for config in blocks("yaml") {
        let (right, said) = check(&config);
        assert!(right, "{said}\n{config}");
    }
}

#[test]
fn the_map_is_that_of_the_source() {
    let mut block = "```text\n".to_owned();
    let (mut purpose, mut group) = ("", false);
    let source = read("src/lib.rs");
    for line in source.lines() {
        if let Some(name) = line.strip_prefix("// ") {
            block.push_str(&format!("{}{name}\n", if group { "\n" } else { "" }));
            group = true;
        } else if let Some(text) = line.strip_prefix("/// ") {
            purpose = text;
        } else if let Some(room) = line.strip_prefix("pub mod ").and_then(|room| room.strip_suffix(';')) {
            block.push_str(&format!("  {room:<10} {purpose}\n"));
        }
    }
    block.push_str("```\n");
    holds("map", &block);
}

#[test]
fn the_policies_are_those_of_the_registry() {
    let mut block = "| policy | what it does |\n|---|---|\n".to_owned();
    for name in tidegate::policy::NAMES {
        let rooms = std::fs::read_dir(root().join("src/policy")).unwrap().map(|room| room.unwrap().path());
        let mut places = rooms.flat_map(|room| [room.join(format!("{name}.rs")), room.join(name).join("mod.rs")]);
        let source = read(places.find(|place| place.exists()).unwrap());
        let doc: Vec<_> = source.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
        let doc = doc.join(" ");
        let sentence = doc.split_once(". ").map_or(doc.as_str(), |(sentence, _)| sentence).split(" ```").next().unwrap().trim();
        let sentence = sentence.trim_end_matches('.');
        block.push_str(&format!("| [`{name}`](conf/examples/{name}.yaml) | {sentence}. |\n"));
    }
    holds("policies", &block);
}

#[test]
fn the_bounds_are_those_of_the_settings() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("schema").output().unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let (readme, metrics) = (read("README.md"), read("src/observe/metrics/mod.rs"));
    let (_, section) = readme.split_once("\n## Bounds\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows: Vec<Vec<_>> = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`').to_owned()).collect())
        .collect();
    let mut known = Vec::new();
    for (part, name) in [("limits", "Limits"), ("timeouts", "ClientTimeouts")] {
        for (key, setting) in schema["$defs"][name]["properties"].as_object().unwrap() {
            let said = setting["description"].as_str().unwrap();
            known.push((format!("{part}.{key}"), said.rsplit_once("Default: ").unwrap().1.replace('`', "").replace('\n', " ")));
        }
    }
    for (key, default) in &known {
        let row = rows.iter().find(|row| row[0] == *key).unwrap_or_else(|| panic!("README.md says nothing of {key}"));
        assert!(default.starts_with(&row[1].replace('`', "")), "README.md should say of {key} that its default is {default}");
        assert!(row.get(3).is_none_or(|metric| metrics.contains(metric.as_str())), "{row:?}");
    }
    assert_eq!(rows.len(), known.len());
}
