//! Several files are one config: in order, each name once, every mistake told with its own file, and a change of any of them noticed.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::support::PATIENCE;
use crate::support::gateway::{Folder, Gateway};

/// Files below a folder, each with its text; the first is checked. Whether all is well, and what is said, without the folder's name.
fn check(files: &[(&str, &str)]) -> (bool, String) {
    let folder = Folder::new();
    lay(&folder, files);
    let main = folder.path().join(files[0].0);
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate")).args(["check", "-c"]).arg(main).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.success(), said.replace(&format!("{}/", folder.path().display()), ""))
}

fn lay(folder: &Folder, files: &[(&str, &str)]) {
    for (name, text) in files {
        std::fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
        folder.file(name, text);
    }
}

/// A route by that name, which answers with it.
fn route(name: &str) -> String {
    format!("routes: [{{ name: {name}, match: {{ path: /{name} }}, reply: {{ text: {name} }} }}]\n")
}

#[test]
fn files_are_put_together_from_the_folder_of_each() {
    let (right, said) = check(&[
        ("main.yaml", "include: [teams/*.yaml, one.yaml]\nservices: { s: { mock: { text: a } } }\nroutes:\n"),
        ("one.yaml", &route("one")),
        ("teams/a.yaml", "include: [deeper/x.yaml]\nroutes: [{ name: a, match: { path: /a }, to: s }]\n"),
        ("teams/b.yaml", "services: { t: { mock: { text: b } } }\nconsumers: [{ name: c }]\n"),
        ("teams/.hidden.yaml", "nonsense: 1"),
        ("teams/note.txt", "nonsense: 1"),
        ("teams/deeper/x.yaml", &route("x")),
        ("teams/empty.yaml", "# nothing yet\n"),
    ]);
    assert!(right, "{said}");
    assert!(said.contains("3 routes, 2 services"), "{said}");
}

#[test]
fn a_name_in_two_files_is_told_with_both_places() {
    for (first, second, expected) in [
        (
            "\nservices:\n  s: { mock: {} }\n",
            "services: { s: { mock: {} } }",
            "b.yaml:1:13: services.s: `s` is here a second time; the first is at main.yaml:4",
        ),
        (
            "\nroutes:\n  - name: r\n    match: { path: /a }\n    reply: {}",
            "routes: [{ name: r, match: { path: /b }, reply: {} }]",
            "b.yaml:1:18: routes[0].name: there are two routes named `r`; the other is at main.yaml:4",
        ),
        (
            "\nconsumers:\n  - name: c",
            "consumers: [{ name: d }, { name: c }]",
            "b.yaml:1:34: consumers[1].name: there are two consumers named `c`; the other is at main.yaml:4",
        ),
    ] {
        let (right, said) = check(&[("main.yaml", &format!("include: [b.yaml]\n{first}")), ("b.yaml", second)]);
        assert!(!right && said.starts_with(expected) && said.ends_with("1 error\n"), "{said}");
    }
}

#[test]
fn every_mistake_names_its_own_file() {
    let (right, said) = check(&[
        ("main.yaml", "include: [a.yaml, b.yaml]\nroutes:\n  - { name: m, to: nowhere }\n"),
        ("a.yaml", "routes:\n  - { name: a, match: { path: /a }, reply: {} }\n  - { name: b, match: { path: x }, reply: {} }\n"),
        ("b.yaml", "routes:\n  - { name: c, match: { path: /c }, reply: {}, too: 1 }\n  - { name: d, to: \"${NONE_SUCH}\" }\n"),
    ]);
    assert!(!right);
    let told: Vec<_> = said.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()) && line.contains(".yaml:")).collect();
    let starts = [
        "a.yaml:3:31: routes[1].match.path: the path `x`",
        "b.yaml:2:48: routes[0].too: unknown key `too`",
        "b.yaml:3:20: routes[1].to: the environment variable `NONE_SUCH` is not set",
        "main.yaml:3:20: routes[0].to: there is no service `nowhere`",
    ];
    assert_eq!(told.len(), starts.len(), "{said}");
    for (told, start) in told.iter().zip(starts) {
        assert!(told.starts_with(start), "{start}:\n{said}");
    }
}

#[test]
fn what_cannot_be_included_is_told_with_a_fix() {
    for (files, expected) in [
        (
            vec![("main.yaml", "include: [none.yaml]\nroutes: [{ name: a, to: gone }]")],
            "main.yaml:1:11: include[0]: `none.yaml` cannot be read: there is no such file",
        ),
        (
            vec![("main.yaml", "include: [none/*.yaml]")],
            "main.yaml:1:11: include[0]: no file matches `none/*.yaml`\n    fix: check the path",
        ),
        (vec![("main.yaml", "include: [\"a[.yaml\"]")], "main.yaml:1:11: include[0]: this is no glob"),
        (
            vec![("main.yaml", "include: a.yaml")],
            "main.yaml:1:10: include: expected a list, found a string `a.yaml`\n    fix: write a list: `[a.yaml]`",
        ),
        (vec![("main.yaml", "include: [a.yaml]"), ("a.yaml", "include: a.yaml")], "a.yaml:1:10: include: expected a list of files"),
        (
            vec![("main.yaml", "include: [a.yaml]"), ("a.yaml", "include: [../x/a.yaml, main.yaml]")],
            "a.yaml:1:24: include[1]: `main.yaml` would include itself",
        ),
        (
            vec![("main.yaml", "include: [a.yaml, a.yaml]"), ("a.yaml", "")],
            "main.yaml:1:19: include[1]: `a.yaml` is included twice; the first is at main.yaml:1",
        ),
        (
            vec![("main.yaml", "include: [a.yaml]"), ("a.yaml", "server: { workers: 1 }")],
            "a.yaml:1:1: server: `server` is for the whole gateway, and this file is included\n    fix: move it to main.yaml",
        ),
        (
            vec![("main.yaml", "include: [a.yaml]"), ("a.yaml", "policies: [request_id]")],
            "a.yaml:1:1: policies: `policies` is for the whole gateway, and this file is included\n    fix: write policies at the routes",
        ),
        (vec![("main.yaml", "include: [a.yaml]\nroutes: []"), ("a.yaml", "routes: {}")], "a.yaml:1:1: routes: expected a list"),
        (vec![("main.yaml", "include: [a.yaml]"), ("a.yaml", "- a")], "a.yaml:1:1: expected a mapping"),
        (vec![("main.yaml", "include: [a.yaml]"), ("a.yaml", "a: [")], "a.yaml:2:1: this is not valid YAML"),
        (
            vec![("main.yaml", "include: [a.yaml]"), ("a.yaml", "rotes: []")],
            "a.yaml:1:1: rotes: unknown key `rotes`\n    fix: did you mean `routes`?",
        ),
    ] {
        let (right, said) = check(&files);
        assert!(!right && said.contains(expected), "{expected}\n{said}");
        assert!(!said.contains("gone"), "nothing can be said of names where a file is missing: {said}");
    }
    let names: Vec<String> = (0..12).map(|depth| format!("f{depth}.yaml")).collect();
    let texts: Vec<String> = (1..=12).map(|depth| if depth < 12 { format!("include: [f{depth}.yaml]") } else { String::new() }).collect();
    let chain: Vec<_> = names.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).collect();
    let (right, said) = check(&chain);
    assert!(!right && said.starts_with("f8.yaml:1:11: include[0]: files include each other more than 8 deep"), "{said}");
}

#[test]
fn a_config_named_from_the_working_folder_is_watched_too() {
    let folder = Folder::new();
    let server = "server: { listeners: [{ address: \"127.0.0.1:0\" }] }\nadmin: { address: \"127.0.0.1:0\" }\n";
    lay(&folder, &[("main.yaml", &format!("{server}include: [teams/*.yaml]\n")), ("teams/a.yaml", &route("a"))]);
    let mut gateway = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    gateway
        .args(["run", "-c", "main.yaml"])
        .current_dir(folder.path())
        .env("RUST_LOG", "info")
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut gateway = gateway.spawn().unwrap();
    let (said, hear) = std::sync::mpsc::channel();
    let lines = BufReader::new(gateway.stderr.take().unwrap()).lines();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| said.send(line)));
    let wait = |words: &str| loop {
        let line = hear.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("nothing says: {words}"));
        if line.contains(words) {
            break;
        }
    };
    wait("listening on");
    lay(&folder, &[("teams/b.yaml", &route("b"))]);
    wait("the config was taken: routes: +b");
    lay(&folder, &[("main.yaml", server)]);
    wait("the config was taken: routes: -a -b");
    gateway.kill().unwrap();
    gateway.wait().unwrap();
}

#[test]
fn a_change_of_an_included_file_is_taken() {
    let folder = Folder::new();
    lay(&folder, &[("teams/a.yaml", &route("a"))]);
    let gateway = Gateway::start_in(folder, "include: [teams/*.yaml]\n");
    let status = |path: &str| gateway.client().get(path).status;
    assert_eq!((status("/a"), status("/b")), (200, 404));
    assert_eq!(gateway.reloaded(|| lay(&gateway.folder, &[("teams/b.yaml", &route("b"))])), "done");
    assert_eq!((status("/a"), status("/b")), (200, 200));
    // A mistake in it changes nothing, and is mended by writing that file alone.
    assert_eq!(gateway.reloaded(|| lay(&gateway.folder, &[("teams/b.yaml", "routes: [{}]")])), "refused");
    assert_eq!(status("/b"), 200);
    assert_eq!(gateway.reloaded(|| lay(&gateway.folder, &[("teams/b.yaml", &route("c"))])), "done");
    assert_eq!((status("/b"), status("/c")), (404, 200));
    assert_eq!(gateway.reloaded(|| std::fs::remove_file(gateway.folder.path().join("teams/b.yaml")).unwrap()), "done");
    assert_eq!((status("/a"), status("/c")), (200, 404));
}
