//! What `make install` and `make deb` lay down, and the unit that systemd reads.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tidegate::config::ServerConfig;

use crate::support::gateway::Folder;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn unit() -> String {
    std::fs::read_to_string(Path::new(ROOT).join("systemd/tidegate.service")).unwrap()
}

/// The value of a setting of the unit.
fn setting(name: &str) -> String {
    let unit = unit();
    let mut values = unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    values.next().unwrap_or_else(|| panic!("the unit has no {name}")).to_owned()
}

fn seconds(name: &str) -> Duration {
    Duration::from_secs(setting(name).parse().unwrap())
}

/// Runs a command that must succeed, and gives what it printed.
fn run(command: &mut Command) -> String {
    let output = command.current_dir(ROOT).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Stands for the binary: a real one takes a minute to be packed.
fn binary(folder: &Folder) -> PathBuf {
    folder.file("binary", "GLIBC_2.17 GLIBC_2.34 GLIBC_2.9\n")
}

#[test]
fn the_unit_waits_longer_than_the_gateway_may_take() {
    let server = ServerConfig::default();
    assert!(
        seconds("TimeoutStartSec") > Duration::from(server.upgrade.timeout) + Duration::from_secs(20),
        "a reload has the time of a start"
    );
    assert!(seconds("TimeoutStopSec") > Duration::from(server.timeouts.drain));
    assert!(seconds("WatchdogSec") >= Duration::from_secs(10));
    let (start, reload) = (setting("ExecStart"), setting("ExecReload"));
    assert_eq!((start.split(' ').nth(1), reload.split(' ').nth(1)), (Some("run"), Some("upgrade")));
}

#[test]
fn the_sandbox_of_the_unit_is_tight() {
    let analyze = |arguments: &[&str]| Command::new("systemd-analyze").args(arguments).current_dir(ROOT).output();
    // Where there is no systemd, or one that cannot judge a file, there is nobody to ask.
    let Ok(output) = analyze(&["security", "--offline=true", "--no-pager", "systemd/tidegate.service"]) else { return };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let Some((_, level)) = said.split_once("Overall exposure level for tidegate.service: ") else { return };
    let level: f64 = level.split(' ').next().unwrap().parse().unwrap();
    assert!(level <= 2.0, "{said}");
    let notes = std::fs::read_to_string(Path::new(ROOT).join("systemd/README.md")).unwrap();
    assert!(notes.contains(&format!("`systemd-analyze security tidegate` says {level}")), "the notes name another level than {level}");
}

#[test]
fn what_is_installed_can_be_uninstalled_and_a_config_stays() {
    let folder = Folder::new();
    let root = folder.path().join("root");
    let make = |target: &str| {
        let mut make = Command::new("make");
        make.args(["-s", target, "PREFIX=/opt/tide", "UNITS=/etc/systemd/system"]);
        run(make.arg(format!("DESTDIR={}", root.display())).arg(format!("BINARY={}", binary(&folder).display())))
    };
    make("install-files");
    let unit = std::fs::read_to_string(root.join("etc/systemd/system/tidegate.service")).unwrap();
    assert!(
        unit.contains("ExecStart=/opt/tide/bin/tidegate run ") && unit.contains("ExecReload=/opt/tide/bin/tidegate upgrade\n"),
        "{unit}"
    );
    assert!(root.join("opt/tide/bin/tidegate").exists() && root.join("opt/tide/share/doc/tidegate/README.md").exists());
    let config = root.join("etc/tidegate/tidegate.yaml");
    std::fs::write(&config, "# mine\n").unwrap();
    make("install-files");
    assert_eq!(std::fs::read_to_string(&config).unwrap(), "# mine\n");
    make("uninstall");
    let left = run(Command::new("find").arg(&root).args(["-type", "f"]));
    assert_eq!(left.trim(), config.to_str().unwrap());
}

#[test]
fn the_debian_package_holds_what_it_should() {
    let folder = Folder::new();
    let package = run(Command::new("systemd/debian/build").arg(binary(&folder)).arg("1.2.3").arg(folder.path()));
    let package = package.trim();
    let field = |name: &str| run(Command::new("dpkg-deb").args(["-f", package, name])).trim().to_owned();
    assert_eq!((field("Package").as_str(), field("Version").as_str()), ("tidegate", "1.2.3"));
    assert!(field("Depends").contains("libc6 (>= 2.34)"), "the newest symbol that it wants: {}", field("Depends"));
    let list = run(Command::new("dpkg-deb").args(["-c", package]));
    for path in [
        "./usr/bin/tidegate",
        "./etc/tidegate/tidegate.yaml",
        "./lib/systemd/system/tidegate.service",
        "./lib/systemd/system/tidegate.socket",
    ] {
        assert!(list.lines().any(|line| line.ends_with(path) && line.contains(" root/root ")), "{path}: {list}");
    }
    let control = folder.path().join("control");
    run(Command::new("dpkg-deb").args(["-e", package]).arg(&control));
    assert_eq!(std::fs::read_to_string(control.join("conffiles")).unwrap(), "/etc/tidegate/tidegate.yaml\n");
    for script in ["postinst", "prerm", "postrm"] {
        run(Command::new("sh").arg("-n").arg(control.join(script)));
    }
}
