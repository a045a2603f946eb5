use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;

use env_logger::{Builder, Env};
use log::Level;

/// Writes the gateway's own words to standard error: for people with the time, for journald, which has the time itself, with the priority instead.
pub fn start() {
    let mut builder = Builder::from_env(Env::default().default_filter_or("warn,tidegate=info"));
    if goes_to_the_journal() {
        builder.format(|out, record| write!(out, "{}", lines(record.level(), &record.args().to_string())));
    }
    builder.init();
}

/// Whether standard error is the stream that systemd has named (`systemd.exec(5)`, `JOURNAL_STREAM`): it may have been redirected since.
fn goes_to_the_journal() -> bool {
    let named = std::env::var("JOURNAL_STREAM").ok();
    let actual = std::fs::metadata("/proc/self/fd/2").ok().map(|stream| format!("{}:{}", stream.dev(), stream.ino()));
    named.is_some() && named == actual
}

/// Each line with its priority (`sd-daemon(3)`): the journal takes every line for an entry of its own.
fn lines(level: Level, text: &str) -> String {
    let priority = match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    };
    text.lines().map(|line| format!("<{priority}>{line}\n")).collect()
}

/// Tells the operator.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_gets_each_line_with_its_priority() {
        assert_eq!(lines(Level::Error, "refused:\nline 3"), "<3>refused:\n<3>line 3\n");
        assert_eq!(lines(Level::Info, "listening"), "<6>listening\n");
    }
}
