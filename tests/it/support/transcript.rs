//! What documents show of a terminal: commands after `$ `, below each what it printed. Run again, and compared.
//!
//! `…` stands for anything. Of an answer with its header, as `curl -i` prints it, the headers shown must be there in any order, those not shown may be,
//! and a line `(no X-Name)` says of one that it is not. Everything after a blank line is the body; where it is not shown it may be
//! anything, and lines that start and end with `…` may be in it in any order.

use std::net::SocketAddr;
use std::process::Command;

use super::secrets;

/// One command and what it printed.
#[derive(Debug)]
pub struct Scene {
    pub command: String,
    pub printed: Vec<String>,
}

/// The scenes in a text.
pub fn scenes<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<Scene> {
    let mut scenes: Vec<Scene> = Vec::new();
    for line in lines {
        match (line.strip_prefix("$ "), scenes.last_mut()) {
            (Some(command), _) => scenes.push(Scene { command: command.to_owned(), printed: Vec::new() }),
            // A backslash at the end goes on with the command.
            (None, Some(scene)) if scene.printed.is_empty() && scene.command.ends_with('\\') => {
                scene.command.push('\n');
                scene.command.push_str(line);
            }
            (None, Some(scene)) => scene.printed.push(line.trim_end().to_owned()),
            (None, None) => {}
        }
    }
    for scene in &mut scenes {
        while scene.printed.last().is_some_and(String::is_empty) {
            scene.printed.pop();
        }
    }
    scenes
}

impl Scene {
    /// The same request over the other version of HTTP, HTTP/2 where it was HTTP/1.1 and the reverse; none for what is no one request.
    pub fn otherwise(mut self) -> Option<Self> {
        const OVER_HTTP2: &str = "--http2-prior-knowledge ";
        let status = self.printed.first_mut()?;
        let (version, rest) = status.strip_prefix("HTTP/")?.split_once(' ')?;
        let (flag, other) = if version == "2" { ("--http1.1 ", "1.1") } else { (OVER_HTTP2, "2") };
        // HTTP/2 has no words for a status.
        *status = format!("HTTP/{other} {}…", rest.get(..3)?);
        self.command = self.command.replace(OVER_HTTP2, "").replacen("curl ", &format!("curl {flag}"), 1);
        Some(self)
    }

    /// Runs the command against a gateway on this address, though it was written for one on port 8080, and says what is not as it was printed.
    pub fn replay(&self, gateway: SocketAddr) -> Result<(), String> {
        let port = format!(":{}", gateway.port());
        let command = self.command.replace(":8080", &port).replace("curl ", "curl --silent --max-time 20 ");
        secrets::of_command(&command);
        let output = Command::new("sh").arg("-c").arg(&command).output().expect("there is a shell");
        let text = String::from_utf8_lossy(&output.stdout).replace(&port, ":8080");
        if text.contains("application/problem+json") {
            secrets::none_within("a problem", &text);
        }
        let wrong =
            |what: String| Err(format!("$ {}\n{what}\nIt printed:\n{text}{}", self.command, String::from_utf8_lossy(&output.stderr)));
        if self.printed.is_empty() {
            return wrong("The text does not show what it prints.".to_owned());
        }
        if !self.printed.iter().any(|line| line.starts_with("HTTP/")) {
            let real: Vec<_> = text.lines().collect();
            let same = real.len() == self.printed.len() && self.printed.iter().zip(&real).all(|(shown, real)| like(shown, real));
            return if same { Ok(()) } else { wrong("It should print:\n".to_owned() + &self.printed.join("\n")) };
        }
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut shown = self.printed.iter();
        let (status, real) = (shown.next().map_or("", String::as_str), head.lines().next().unwrap_or_default());
        if !like(status, real) {
            return wrong(format!("The status should be: {status}"));
        }
        for line in shown.by_ref().take_while(|line| !line.is_empty()).filter(|line| *line != "…") {
            let fields = || head.lines().skip(1).map(|field| field.split_once(':').unwrap_or((field, "")));
            let right = match line.strip_prefix("(no ").and_then(|name| name.strip_suffix(')')) {
                Some(absent) => !fields().any(|(name, _)| name.eq_ignore_ascii_case(absent)),
                None => line.split_once(':').is_some_and(|(shown, pattern)| {
                    fields().any(|(name, value)| name.eq_ignore_ascii_case(shown) && like(pattern.trim(), value.trim()))
                }),
            };
            if !right {
                return wrong(format!("The header should have: {line}"));
            }
        }
        let shown: Vec<_> = shown.map(String::as_str).collect();
        let parts = shown.iter().all(|line| line.starts_with('…') && line.ends_with('…'));
        let right = if parts { shown.iter().all(|line| like(line, body)) } else { like(&shown.join("\n"), body.trim_end()) };
        if !right {
            return wrong(format!("The body should be: {}", shown.join("\n")));
        }
        Ok(())
    }
}

/// Whether a text is as shown, where `…` stands for anything.
fn like(shown: &str, text: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(mut rest) = parts.next().and_then(|start| text.strip_prefix(start)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}

#[test]
fn a_request_goes_over_the_other_version_too() {
    let scene = |command: &str, status: &str| Scene { command: command.into(), printed: vec![status.into()] };
    let told = |scene: Scene| scene.otherwise().map(|scene| (scene.command, scene.printed.concat()));
    let (one, two) = ("curl --http1.1 -i http://a".to_owned(), "curl --http2-prior-knowledge -i http://a".to_owned());
    assert_eq!(told(scene("curl -i http://a", "HTTP/1.1 404 Not Found")), Some((two.clone(), "HTTP/2 404…".into())));
    assert_eq!(told(scene(&two, "HTTP/2 200 …")), Some((one, "HTTP/1.1 200…".into())));
    assert_eq!(told(scene("tidegate check", "all is well")), None);
}

#[test]
fn dots_stand_for_anything() {
    assert!(like("a…c…", "abcd") && like("…", "") && like("a", "a") && like("a…a", "aa"));
    assert!(!like("a", "ab") && !like("a…c", "abcd") && !like("…b", "a") && !like("a…a", "a"));
}
