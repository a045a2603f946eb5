//! What a request needs to get through, told from the config alone.

use serde::Serialize;

use super::config::{Config, OnError};

/// What a request needs.
#[derive(Debug, Serialize)]
pub struct Needs {
    /// Who is asked.
    service: String,
    method: String,
    path: String,
    /// What goes along.
    headers: Vec<String>,
    /// Whether it goes on too where nobody answers.
    on_error: OnError,
}

impl Config {
    /// What a request needs.
    pub fn needs(&self) -> Needs {
        let Self { service, method, path, headers, on_error, .. } = self.clone();
        Needs { service, method, path, headers, on_error }
    }
}

impl Needs {
    /// The same for people.
    pub fn lines(&self) -> Vec<String> {
        let told = if self.headers.is_empty() { "no header".to_owned() } else { self.headers.join(", ") };
        let otherwise = if self.on_error == OnError::Allow { ", or no answer" } else { "" };
        vec![format!("a yes of service {} to {} {}, which is told {told}{otherwise}", self.service, self.method, self.path)]
    }
}
