//! What a refused client is told to send, and settings that cannot work.

use http::{HeaderName, HeaderValue, header};

use super::component::DERIVED;
use super::{Body, Config, Form};
use crate::building::BuildError;

/// The headers of a refusal: `WWW-Authenticate`, and what RFC 9421 §5.1 has for the same.
///
/// # Errors
/// A realm, label or tag that cannot stand in a header.
pub(super) fn of(config: &Config) -> Result<Vec<(HeaderName, HeaderValue)>, BuildError> {
    let wrong = |name: &'static str| BuildError::new("this cannot stand in a header", "use plain letters, digits and spaces").at(name);
    let plain = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
    for (name, text) in [("realm", &config.realm), ("tag", &config.tag)] {
        if text.as_deref().is_some_and(|text| !plain(text)) {
            return Err(wrong(name));
        }
    }
    let mut params = Vec::new();
    params.extend(config.realm.as_ref().map(|realm| format!("realm=\"{realm}\"")));
    if config.forms.contains(&Form::Cavage) {
        params.push(format!("headers=\"{}\"", older(config).join(" ")));
    }
    let params = if params.is_empty() { String::new() } else { format!(" {}", params.join(", ")) };
    let value = |text: String| HeaderValue::try_from(text).map_err(|_| wrong("realm"));
    let mut headers = vec![(header::WWW_AUTHENTICATE, value(format!("Signature{params}"))?)];
    if config.forms.contains(&Form::Rfc9421) {
        let digest = (config.body == Body::Verify).then_some("content-digest");
        let names = config.components.iter().map(String::as_str).chain(digest).map(|name| format!("\"{name}\""));
        let tag = config.tag.as_ref().map_or(String::new(), |tag| format!(";tag=\"{tag}\""));
        let (label, names) = (config.label.as_deref().unwrap_or("sig"), names.collect::<Vec<_>>().join(" "));
        headers.push((HeaderName::from_static("accept-signature"), value(format!("{label}=({names});created;keyid{tag}"))?));
    }
    Ok(headers)
}

/// What is asked for in the older form, in its names.
pub(super) fn older(config: &Config) -> Vec<&str> {
    let mut names = Vec::new();
    for component in &config.components {
        let name = match component.as_str() {
            "@method" | "@path" | "@query" | "@request-target" => "(request-target)",
            "@authority" => "host",
            name => name,
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let date = (!names.contains(&"x-date") && !names.contains(&"date")).then_some("date");
    names.into_iter().chain(date).chain((config.body == Body::Verify).then_some("digest")).collect()
}

impl Config {
    /// What cannot work, relative to these settings.
    pub(super) fn mistakes(&self) -> Vec<BuildError> {
        let mut found = Vec::new();
        let takes = |form| self.forms.contains(&form);
        if self.forms.is_empty() {
            found.push(BuildError::new("no form of signatures is taken", "write `rfc9421` or `cavage`").at("forms"));
        }
        found.extend(self.max_age.not_zero().map_err(|error| error.at("max_age")).err());
        if self.max_age.0.as_secs() == 0 && !self.max_age.0.is_zero() {
            found.push(BuildError::new("signatures tell their time in seconds", "write `1s` or more").at("max_age"));
        }
        if self.components.is_empty() {
            let reason = "a signature that covers nothing is good for every request";
            found.push(BuildError::new(reason, "write what it has to cover, like `\"@method\"` and `\"@target-uri\"`").at("components"));
        }
        for (place, name) in self.components.iter().enumerate() {
            found.extend(self.component(name).err().map(|error| error.at(place).at("components")));
        }
        for (name, value) in [("label", &self.label), ("tag", &self.tag)] {
            if value.is_some() && !takes(Form::Rfc9421) {
                found.push(BuildError::new(format!("signatures of these forms have no {name}"), format!("remove `{name}`")).at(name));
            }
        }
        // RFC 8941 §3.1.2.
        let is_key = |label: &str| {
            label.starts_with(|first: char| first.is_ascii_lowercase() || first == '*')
                && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte))
        };
        if self.label.as_deref().is_some_and(|label| !is_key(label)) {
            found.push(BuildError::new("no signature has this label", "write it in lower case, like `sig1`").at("label"));
        }
        found
    }

    fn component(&self, name: &str) -> Result<(), BuildError> {
        if self.forms.contains(&Form::Cavage) && matches!(name, "@scheme" | "@target-uri") {
            let fix = "write `@method`, `@authority`, `@path` and `@query`, or take `cavage` out of `forms`";
            return Err(BuildError::new(format!("signatures of the older form cannot cover `{name}`"), fix));
        }
        if name.starts_with('@') {
            let known = DERIVED.iter().filter(|known| **known != "@query-param");
            return if known.clone().any(|known| *known == name) {
                Ok(())
            } else {
                Err(BuildError::unknown("component", name, known.copied()))
            };
        }
        // The digest has its own setting, and a signature cannot cover itself.
        let own = ["content-digest", "digest", "signature", "signature-input", "authorization"];
        if own.contains(&name) || HeaderName::from_bytes(name.as_bytes()).is_err() || name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            let fix = "write a derived component, or the name of a header in lower case; for the body there is `body: verify`";
            return Err(BuildError::new(format!("`{name}` cannot be asked for"), fix));
        }
        Ok(())
    }
}
