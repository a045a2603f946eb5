//! `conf/examples`: each file runs in the real gateway, and the requests in its comments get the answers in its comments.

use std::path::{Path, PathBuf};

use crate::support::gateway::Folder;
use crate::support::redis::Redis;
use crate::support::transcript::{Scene, scenes};
use crate::support::{Gateway, port};

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/examples");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// Where examples believe that a Redis is.
const REDIS: &str = "/run/redis.sock";

/// Over which version of HTTP requests are sent.
#[derive(Clone, Copy, PartialEq)]
enum Version {
    AsShown,
    Other,
}

fn replay(path: &Path, version: Version) -> Result<(), String> {
    let text = std::fs::read_to_string(path).unwrap();
    let comments = text.lines().filter_map(|line| line.strip_prefix('#')).map(|line| line.strip_prefix(' ').unwrap_or(line));
    let mut scenes = scenes(comments);
    if scenes.is_empty() {
        return Err("shows no request".to_owned());
    }
    if version == Version::Other {
        scenes = scenes.into_iter().filter_map(Scene::otherwise).collect();
        if scenes.len() < 3 {
            return Err("shows less than one good credential and two bad ones".to_owned());
        }
    }
    let folder = Folder::new();
    // What an example includes lies in a folder of its name.
    let (from, to) = (path.with_extension(""), folder.path().join(path.file_stem().unwrap()));
    if from.is_dir() {
        std::fs::create_dir(&to).unwrap();
        for file in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    // Sockets lie there too: only root may put them where the examples do.
    let run = format!("{}/", folder.path().display());
    // One that needs a Redis gets one.
    let redis = text.contains(REDIS).then(Redis::start);
    let socket = redis.as_ref().map_or(REDIS.to_owned(), |redis| redis.folder.path().join("redis.sock").display().to_string());
    scenes.iter_mut().for_each(|scene| scene.command = scene.command.replace(REDIS, &socket).replace("/run/", &run));
    let text = text.replace(REDIS, &socket).replace(":8080", &format!(":{}", port())).replace(":9090", ":0").replace("/run/", &run);
    let gateway = Gateway::start_in(folder, &text);
    scenes.iter().try_for_each(|scene| scene.replay(gateway.address))
}

#[test]
fn every_example_answers_as_it_says() {
    all(&examples(), Version::AsShown);
}

#[test]
fn every_way_to_be_known_is_the_same_over_the_other_version_of_http() {
    let ways = ["acl", "anonymous", "any_of", "api_key", "basic", "external", "hmac", "introspection", "jwt", "mtls", "oidc"];
    let files: Vec<_> = examples().into_iter().filter(|file| ways.iter().any(|way| file.file_stem().unwrap() == *way)).collect();
    assert_eq!(files.len(), ways.len());
    all(&files, Version::Other);
}

fn all(files: &[PathBuf], version: Version) {
    // So many at a time: each watches its files, and the system has 128 watchers for all that a user runs.
    let wrong = files.chunks(20).flat_map(|files| {
        std::thread::scope(|scope| {
            let runs: Vec<_> = files.iter().map(|file| (file, scope.spawn(move || replay(file, version)))).collect();
            let ends = runs.into_iter().map(|(file, run)| (file, run.join().unwrap_or_else(|_| Err("does not run".to_owned()))));
            ends.filter_map(|(file, end)| end.err().map(|why| format!("{}: {why}", file.display()))).collect::<Vec<_>>()
        })
    });
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_policy_has_an_example_under_its_name() {
    let names: Vec<_> = examples().iter().map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    for policy in tidegate::policy::NAMES {
        assert!(names.iter().any(|name| name == policy), "conf/examples/{policy}.yaml is missing");
    }
}
