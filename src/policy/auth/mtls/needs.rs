//! What a request needs to get through, told from the config alone.

use serde::Serialize;

use super::config::Config;

/// What a request needs.
#[derive(Debug, Serialize)]
pub struct Needs {
    /// Whether it must have one.
    certificate: bool,
    /// The consumers of which it is said what their certificates are.
    consumers: Vec<String>,
    /// What of another names the consumer.
    by: Option<&'static str>,
}

impl Config {
    /// What a request needs.
    pub fn needs(&self) -> Needs {
        let mut consumers: Vec<String> = self.certificates.iter().map(|certificate| certificate.consumer.clone()).collect();
        consumers.sort_unstable();
        consumers.dedup();
        Needs { certificate: self.required, consumers, by: self.consumer.map(|part| part.name()) }
    }
}

impl Needs {
    /// The same for people.
    pub fn lines(&self) -> Vec<String> {
        let whose = (!self.consumers.is_empty()).then(|| format!("of {}", self.consumers.join(" or ")));
        let by = self.by.map(|part| format!("whose {part} names a consumer"));
        let who = whose.into_iter().chain(by).collect::<Vec<_>>().join(", or ");
        let may = if self.certificate { "" } else { " or none" };
        vec![format!("a client certificate {who}{may}")]
    }
}
