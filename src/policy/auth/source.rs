//! Where a request carries what it proves itself by, and how that is taken out.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, header};
use pingora_http::RequestHeader;

use crate::building::BuildError;
use crate::expr;
use crate::policy::transform::editable;
use crate::problem::{Kind, Problem};

/// The places to look at.
#[derive(Debug)]
pub(super) struct Sources {
    /// A header.
    pub header: Option<HeaderName>,
    /// What stands before the credential in it.
    pub scheme: Scheme,
    /// A query parameter.
    pub query: Option<String>,
    /// A cookie.
    pub cookie: Option<String>,
}

/// What stands before the credential in a header.
#[derive(Debug)]
pub(super) enum Scheme {
    /// Nothing.
    None,
    /// This word, or nothing.
    Maybe(Box<str>),
    /// This word: a value without it is for somebody else.
    Always(Box<str>),
}

/// More than one was sent: one could be read here and another behind us (RFC 6750 §2).
#[derive(Debug)]
pub(super) struct Several;

/// What settings say of the places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub header: Option<&'a str>,
    pub query: Option<&'a str>,
    pub cookie: Option<&'a str>,
    /// The header, where no place is named.
    pub usual: &'static str,
    /// What a parameter or cookie could be called.
    pub example: &'static str,
}

impl Named<'_> {
    /// The header, the parameter and the cookie.
    ///
    /// # Errors
    /// A name that is none, at its place.
    pub(super) fn places(self, scheme: impl FnOnce(&HeaderName) -> Scheme) -> Result<Sources, BuildError> {
        for (name, value) in [("query", self.query), ("cookie", self.cookie)] {
            if value == Some("") {
                let fix = format!("write its name, like `{}`", self.example);
                return Err(BuildError::new(format!("a {name} needs a name"), fix).at(name));
            }
        }
        let elsewhere = self.query.is_some() || self.cookie.is_some();
        let header = self.header.or((!elsewhere).then_some(self.usual));
        let header = header.map(editable).transpose().map_err(|error| error.at("header"))?;
        let scheme = header.as_ref().map_or(Scheme::None, scheme);
        Ok(Sources { header, scheme, query: self.query.map(Into::into), cookie: self.cookie.map(Into::into) })
    }
}

impl Sources {
    /// Those of a bearer token: `Authorization` after that word, any other header with or without it.
    ///
    /// # Errors
    /// A name that is none, at its place.
    pub(super) fn of_tokens(header: Option<&str>, query: Option<&str>, cookie: Option<&str>) -> Result<Self, BuildError> {
        Named { header, query, cookie, usual: "Authorization", example: "token" }.places(|header| {
            let word = "Bearer".into();
            if *header == header::AUTHORIZATION { Scheme::Always(word) } else { Scheme::Maybe(word) }
        })
    }

    /// The one credential of a request.
    ///
    /// # Errors
    /// There is more than one.
    pub(super) fn find<'a>(&'a self, req: &'a RequestHeader) -> Result<Option<Cow<'a, [u8]>>, Several> {
        let mut sent = self.all(req)?;
        match (sent.next(), sent.next()) {
            (_, Some(_)) => Err(Several),
            (sent, None) => Ok(sent),
        }
    }

    /// All that it carries.
    ///
    /// # Errors
    /// There is more than one `Authorization`.
    pub(super) fn all<'a>(&'a self, req: &'a RequestHeader) -> Result<impl Iterator<Item = Cow<'a, [u8]>>, Several> {
        // Every `Authorization` counts, of whatever scheme: the header cannot stand twice (RFC 9110 §11.6.2).
        if self.header == Some(header::AUTHORIZATION) && req.headers.get_all(header::AUTHORIZATION).iter().nth(1).is_some() {
            return Err(Several);
        }
        let headers = self.header.iter().flat_map(|name| {
            let values = req.headers.get_all(name).iter().map(HeaderValue::as_bytes);
            values.filter_map(|value| self.scheme.strip(value))
        });
        let pairs = self.query.iter().flat_map(|name| {
            let pairs = form_urlencoded::parse(req.uri.query().unwrap_or_default().as_bytes());
            pairs.filter(move |(key, _)| key == name).map(|(_, token)| Cow::Owned(token.into_owned().into_bytes()))
        });
        let cookies = self.cookie.iter().flat_map(|name| {
            let values = cookies(req).filter_map(move |(key, pair)| (key == name.as_bytes()).then_some(pair));
            values.map(|pair| pair.splitn(2, |byte| *byte == b'=').nth(1).unwrap_or_default())
        });
        Ok(headers.chain(cookies).map(Cow::Borrowed).chain(pairs))
    }

    /// Takes the credential out, wherever it may be; all else stays.
    ///
    /// # Errors
    /// What is left of the query cannot be forwarded.
    pub(super) fn remove(&self, req: &mut RequestHeader) -> Result<(), Problem> {
        if let Some(name) = &self.header
            && (*name != header::AUTHORIZATION || req.headers.get(name).is_some_and(|value| self.scheme.strip(value.as_bytes()).is_some()))
        {
            req.remove_header(name);
        }
        if let Some(name) = &self.cookie
            && cookies(req).any(|(key, _)| key == name.as_bytes())
        {
            let rest = cookies(req).filter(|(key, _)| *key != name.as_bytes()).map(|(_, pair)| pair).collect::<Vec<_>>().join(&b"; "[..]);
            req.remove_header(&header::COOKIE);
            if let (false, Ok(rest)) = (rest.is_empty(), HeaderValue::from_bytes(&rest)) {
                crate::policy::transform::set(req, &header::COOKIE, rest);
            }
        }
        match &self.query {
            Some(name) => without(req, name),
            None => Ok(()),
        }
    }
}

impl Scheme {
    /// What follows the scheme; none of a value that is for somebody else.
    fn strip<'a>(&self, value: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            Scheme::None => Some(value),
            Scheme::Maybe(word) => Some(after(word, value).unwrap_or(value)),
            Scheme::Always(word) => after(word, value),
        }
    }
}

/// What follows a scheme, in any case (RFC 9110 §11.1).
pub(super) fn after<'a>(word: &str, value: &'a [u8]) -> Option<&'a [u8]> {
    let (scheme, rest) = value.split_at_checked(word.len())?;
    let separated = rest.first().is_none_or(|byte| *byte == b' ');
    (scheme.eq_ignore_ascii_case(word.as_bytes()) && separated).then(|| rest.trim_ascii_start())
}

/// Takes every parameter of that name out of the query; the others stay as they were sent, to the byte.
fn without(req: &mut RequestHeader, name: &str) -> Result<(), Problem> {
    let Some(query) = req.uri.query() else { return Ok(()) };
    let Cow::Owned(rest) = expr::without(query, |key| key == name) else { return Ok(()) };
    let path = req.uri.path();
    let target = if rest.is_empty() { path.to_owned() } else { format!("{path}?{rest}") };
    let uri = target.parse().map_err(|error| Problem::new(Kind::BadRequest, "the query cannot be forwarded").cause(error))?;
    req.set_uri(uri);
    Ok(())
}

/// Name and whole pair of each cookie, in order (RFC 6265 §4.2.1).
fn cookies(req: &RequestHeader) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = req.headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    let pairs = lines.flat_map(|line| line.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty());
    pairs.map(|pair| (pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii(), pair))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn req(uri: &str, headers: &[(&str, &str)]) -> RequestHeader {
        let mut req = RequestHeader::build("GET", uri.as_bytes(), None).unwrap();
        for (name, value) in headers {
            req.append_header((*name).to_owned(), *value).unwrap();
        }
        req
    }

    fn found(sources: &Sources, req: &RequestHeader) -> Option<String> {
        sources.find(req).unwrap().map(|token| String::from_utf8(token.into_owned()).unwrap())
    }

    fn everywhere() -> Sources {
        let scheme = Scheme::Always("Bearer".into());
        Sources { header: Some(header::AUTHORIZATION), scheme, query: Some("t".into()), cookie: Some("jwt".into()) }
    }

    #[test]
    fn a_token_is_found_in_each_place() {
        for (uri, headers) in [
            ("/", vec![("authorization", "bEARER  x.y.z")]),
            ("/?a=1&t=x.y%2Ez", vec![]),
            ("/", vec![("cookie", "a=1"), ("cookie", "b=2;jwt=x.y.z; c=3")]),
            ("/", vec![("authorization", "Basic Og=="), ("cookie", "jwt=x.y.z")]),
        ] {
            assert_eq!(found(&everywhere(), &req(uri, &headers)).as_deref(), Some("x.y.z"), "{uri} {headers:?}");
        }
        assert_eq!(found(&everywhere(), &req("/?tt=1", &[("authorization", "Bearerx"), ("cookie", "xjwt=1")])), None);
        assert_eq!(found(&everywhere(), &req("/", &[("authorization", "Bearer")])).as_deref(), Some(""));
    }

    #[test]
    fn another_header_carries_the_token_with_or_without_a_scheme() {
        let header = Some(HeaderName::from_static("x-token"));
        let sources = Sources { header, scheme: Scheme::Maybe("Bearer".into()), query: None, cookie: None };
        for value in ["x.y.z", "Bearer x.y.z"] {
            assert_eq!(found(&sources, &req("/", &[("x-token", value)])).as_deref(), Some("x.y.z"));
        }
        assert!(sources.find(&req("/", &[("x-token", "a"), ("x-token", "a")])).is_err());
    }

    #[test]
    fn two_tokens_are_refused() {
        for (uri, headers) in [
            ("/?t=a&t=a", vec![]),
            ("/?t=a", vec![("cookie", "jwt=a")]),
            ("/?t=a", vec![("authorization", "Bearer a")]),
            ("/", vec![("cookie", "jwt=a; jwt=a")]),
            ("/", vec![("authorization", "Bearer a"), ("authorization", "Basic a")]),
        ] {
            assert!(everywhere().find(&req(uri, &headers)).is_err(), "{uri} {headers:?}");
        }
    }

    #[test]
    fn a_token_is_taken_out_and_all_else_stays() {
        let mut req = req("/p?a=1&t=x", &[("authorization", "Basic Og=="), ("cookie", "a=1; jwt=x"), ("cookie", "b=2")]);
        everywhere().remove(&mut req).unwrap();
        assert_eq!(
            (req.uri.to_string().as_str(), &req.headers["authorization"], &req.headers["cookie"]),
            ("/p?a=1", &HeaderValue::from_static("Basic Og=="), &HeaderValue::from_static("a=1; b=2"))
        );
        let mut req = self::req("/", &[("authorization", "Bearer x"), ("cookie", "jwt=x")]);
        everywhere().remove(&mut req).unwrap();
        assert!(req.headers.get("authorization").is_none() && req.headers.get("cookie").is_none());
    }
}
