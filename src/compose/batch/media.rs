use http::HeaderMap;

use crate::compose::outcome::media_type;

/// In what form a body of some type stands in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is.
    Json,
    /// As a string.
    Text,
    /// As a string in base64.
    Binary,
}

impl Form {
    /// That of a body with these headers. Without a type it is JSON.
    pub fn of(headers: &HeaderMap) -> Self {
        let (essence, charset) = media_type(headers);
        let is_utf8 = charset.is_none_or(|charset| matches!(&*charset, "utf-8" | "us-ascii"));
        if essence.is_empty() || matches!(&*essence, "application/json" | "text/json") || essence.ends_with("+json") {
            return Form::Json;
        }
        let is_text = essence.starts_with("text/") || essence.ends_with("/xml") || essence.ends_with("+xml");
        if is_utf8 && (is_text || essence == "application/x-www-form-urlencoded") { Form::Text } else { Form::Binary }
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    #[test]
    fn the_type_of_a_body_says_its_form() {
        for (kind, form) in [
            ("application/json", Form::Json),
            ("Application/Problem+JSON; charset=utf-8", Form::Json),
            ("text/html; charset=\"UTF-8\"", Form::Text),
            ("image/svg+xml", Form::Text),
            ("application/xml", Form::Text),
            ("application/x-www-form-urlencoded", Form::Text),
            ("text/plain; charset=iso-8859-1", Form::Binary),
            ("image/png", Form::Binary),
        ] {
            assert_eq!(Form::of(&HeaderMap::from_iter([(header::CONTENT_TYPE, kind.parse().unwrap())])), form, "{kind}");
        }
        assert_eq!(Form::of(&HeaderMap::new()), Form::Json);
    }
}
