//! The scripts for k6 in `loadtest/k6`, without k6: a compiler holds them to `@types/k6`, and `tests/it/peers/k6.mjs` runs an iteration of each.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::gateway::Folder;
use crate::support::{Gateway, port, tools};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn scripts() -> PathBuf {
    root().join("loadtest/k6")
}

/// The demo on free ports, with one thing changed.
fn demo(from: &str, to: &str) -> Gateway {
    let file = std::fs::read_to_string(root().join("conf/tidegate.yaml")).unwrap();
    assert!(file.contains(from), "{from}");
    Gateway::start(&file.replace("127.0.0.1:8080", "127.0.0.1:0").replace("127.0.0.1:9090", "127.0.0.1:0").replace(from, to))
}

/// The scripts in a folder of their own, with one thing changed in one of them.
fn changed(script: &str, from: &str, to: &str) -> Folder {
    let folder = Folder::new();
    for entry in std::fs::read_dir(scripts()).unwrap() {
        let path = entry.unwrap().path();
        let (name, text) = (path.file_name().unwrap().to_str().unwrap(), std::fs::read_to_string(&path).unwrap());
        assert!(name != script || text.contains(from), "{from}");
        folder.file(name, if name == script { text.replacen(from, to, 1) } else { text });
    }
    folder
}

/// What the compiler says of the scripts in a folder, and whether it is content.
fn compile(folder: &Path) -> (bool, String) {
    let mut tsc = Command::new(tools::modules().join(".bin/tsc"));
    tsc.args(["--pretty", "false", "--project"]).arg(folder.join("jsconfig.json"));
    let output = tsc.arg("--typeRoots").arg(tools::modules().join("@types")).output().unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// What is found when a script runs on a gateway.
fn run(script: &Path, gateway: &str, more: &[&str]) -> Value {
    let mut node = Command::new("node");
    node.arg("--experimental-vm-modules").arg(root().join("tests/it/peers/k6.mjs"));
    let (flags, variables): (Vec<&str>, Vec<&str>) = more.iter().copied().partition(|argument| argument.starts_with("--"));
    let output = node.args(flags).arg(script).arg(format!("BASE_URL=http://{gateway}")).args(variables).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

/// How many checks have passed, and the names of those that have not.
fn checks(found: &Value) -> (u64, BTreeSet<&str>) {
    let checks = found["checks"].as_object().unwrap();
    let passes = checks.values().map(|check| check["passes"].as_u64().unwrap()).sum();
    (passes, checks.iter().filter(|(_, check)| check["fails"] != 0).map(|(name, _)| name.as_str()).collect())
}

#[test]
fn the_scripts_name_nothing_that_k6_does_not_have() {
    let (right, said) = compile(&scripts());
    assert!(right, "{said}");
    for (script, from, to, why) in [
        ("constant.js", "'constant-arrival-rate'", "'constant-rate'", "'\"constant-rate\"' is not assignable"),
        ("constant.js", "...users(rate)", "maxVUs: users(rate).preAllocatedVUs", "'preAllocatedVUs' is missing"),
        ("ramp.js", "abortOnFail", "abortOnFailure", "'abortOnFailure' does not exist"),
        ("gateway.js", "abortOnFail", "abortOnFailure", "'abortOnFailure' does not exist"),
        ("soak.js", "import { sleep }", "import { pause as sleep }", "no exported member 'pause'"),
        ("gateway.js", "http.get(", "http.fetch(", "'fetch' does not exist"),
        ("gateway.js", "answer.status === 200", "answer.code === 200", "'code' does not exist"),
        ("gateway.js", "'k6/metrics'", "'k6/metric'", "Cannot find module 'k6/metric'"),
    ] {
        let (right, said) = compile(changed(script, from, to).path());
        assert!(!right && said.contains(why), "{to}: {said}");
    }
}

#[test]
fn each_script_finds_everything_right_on_the_demo() {
    let gateway = demo("", "");
    for (script, scenarios) in [
        ("constant", json!({"constant": "constant-arrival-rate"})),
        ("ramp", json!({"ramp": "ramping-arrival-rate"})),
        ("soak", json!({"soak": "ramping-vus"})),
        ("spike", json!({"before": "constant-arrival-rate", "spike": "ramping-arrival-rate", "after": "constant-arrival-rate"})),
    ] {
        let found = run(&scripts().join(script).with_extension("js"), &gateway.address.to_string(), &[]);
        assert_eq!((&found["error"], &found["crossed"]), (&Value::Null, &json!([])), "{script}: {found}");
        assert_eq!(found["scenarios"], scenarios);
        let iterations = u64::try_from(scenarios.as_object().unwrap().len()).unwrap();
        assert_eq!(checks(&found), (8 * iterations, BTreeSet::new()), "{script}: {found}");
    }
    gateway.await_metric("tidegate_requests_total{route=\"user-profile\",status=\"200\"}", 6.0 + 4.0);
}

#[test]
fn what_is_over_a_limit_is_not_a_failure() {
    let gateway = demo("requests: 100", "requests: 1");
    let found = run(&scripts().join("spike.js"), &gateway.address.to_string(), &[]);
    assert_eq!((&found["error"], &found["crossed"], checks(&found)), (&Value::Null, &json!([]), (24, BTreeSet::new())), "{found}");
    gateway.await_metric("tidegate_requests_total{route=\"users\",status=\"429\"}", 2.0);
}

#[test]
fn no_script_begins_where_the_gateway_does_not_answer_as_it_should() {
    let (right, open) = (demo("", ""), demo("[api_key]", "[]"));
    let broken = demo("users:/users/{id}\", required", "offers:/users/{id}\", required");
    let [right, open, broken] = [&right, &open, &broken].map(|gateway| gateway.address.to_string());
    let nobody = format!("127.0.0.1:{}", port());
    for script in ["constant.js", "ramp.js", "soak.js", "spike.js"] {
        for (gateway, more, why) in [
            (&right, &["API_KEY=another-key"][..], "refuses the key: set API_KEY"),
            (&open, &[], "answers 200 to a request without a key"),
            (&broken, &[], "should answer 200 with its parts"),
            (&nobody, &[], "nothing answers at"),
        ] {
            let found = run(&scripts().join(script), gateway, more);
            let error = found["error"].as_str().unwrap_or_else(|| panic!("{found}"));
            assert!(error.contains(why) && found["checks"] == json!({}), "{script}: {found}");
        }
    }
}

#[test]
fn the_checks_and_thresholds_fail_where_answers_are_wrong() {
    let script = scripts().join("constant.js");
    let (right, open) = (demo("", ""), demo("      - api_key\n", ""));
    let wrong_key = run(&script, &right.address.to_string(), &["--no-setup", "API_KEY=another-key"]);
    let (passes, failed) = checks(&wrong_key);
    assert!(passes == 3 && failed.len() == 5 && failed.iter().all(|name| !name.starts_with("stranger")), "{wrong_key}");
    assert_eq!(wrong_key["crossed"], json!(["checks: rate>0.999", "http_req_failed: rate<0.001"]));

    let let_in = run(&script, &open.address.to_string(), &["--no-setup"]);
    let (_, failed) = checks(&let_in);
    assert!(["stranger: 401", "stranger: told how to authenticate", "stranger: told why"].iter().all(|name| failed.contains(name)));
    assert_eq!(let_in["crossed"], json!(["checks: rate>0.999", "http_req_failed: rate<0.001", "let_through: rate==0"]));
}

#[test]
fn settings_that_k6_would_refuse_are_found() {
    let demo = demo("", "");
    let gateway = demo.address.to_string();
    for (script, from, to, why) in [
        ("constant.js", "http_req_duration:", "http_req_time:", "there is no metric http_req_time"),
        ("constant.js", "count==0", "p(95)==0", "not a threshold of dropped_iterations, a Counter"),
        ("constant.js", "export default visit", "export default () => process.exit(0)", "process is not defined"),
        ("spike.js", "{scenario:after}", "{scenario:later}", "nothing has the tags of"),
        ("spike.js", "exec: 'visit'", "exec: 'visits'", "the script has no function visits"),
        ("soak.js", "'1m'", "'1 minute'", "not a duration: 1 minute"),
    ] {
        let found = run(&changed(script, from, to).path().join(script), &gateway, &[]);
        assert!(found["error"].as_str().unwrap_or_default().contains(why), "{to}: {found}");
    }
    for (variable, why) in [("RATE=many", "RATE is many"), ("RATE=0.5", "RATE is 0.5"), ("DURATION=soon", "not a duration: soon")] {
        let found = run(&scripts().join("constant.js"), &gateway, &[variable]);
        assert!(found["error"].as_str().unwrap_or_default().contains(why), "{variable}: {found}");
    }
}
