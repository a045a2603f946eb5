//! What a request needs to get through, told from the config alone.

use serde::Serialize;

use super::challenge::older;
use super::{Body, Config, Form};

/// What a request needs.
#[derive(Debug, Serialize)]
pub struct Needs {
    /// The forms of signatures, each with what it has to cover.
    forms: Vec<String>,
    /// How old it may be, as it is written.
    max_age: String,
    /// Whether it is good once.
    once: bool,
    /// Whether the body is verified.
    body: bool,
}

impl Config {
    /// Whether other keys than secrets can sign for it.
    pub fn takes_public_keys(&self) -> bool {
        self.forms.iter().any(|form| *form != Form::Cavage)
    }

    /// What a request needs.
    pub fn needs(&self) -> Needs {
        let form = |form: &Form| match form {
            Form::Rfc9421 => {
                let tag = self.tag.as_ref().map_or(String::new(), |tag| format!(", with the tag `{tag}`"));
                format!("`Signature-Input` and `Signature` (RFC 9421) over {}, with `created` and `keyid`{tag}", self.components.join(" "))
            }
            Form::Cavage => format!("`Authorization: Signature …` over {}", older(self).join(" ")),
        };
        Needs {
            forms: self.forms.iter().map(form).collect(),
            max_age: humantime::format_duration(self.max_age.0).to_string(),
            once: self.remember > 0,
            body: self.body == Body::Verify,
        }
    }
}

impl Needs {
    /// The same for people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<_> =
            self.forms.iter().enumerate().map(|(at, form)| format!("{}{form}", if at == 0 { "" } else { "or " })).collect();
        let once = if self.once { ", not used before" } else { "" };
        lines.push(format!("signed within the last {}{once}", self.max_age));
        if self.body {
            lines.push("where there is a body, with its digest signed too".to_owned());
        }
        lines
    }
}
