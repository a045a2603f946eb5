//! Where a request carries its token, and how it is taken out.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, header};
use pingora_http::RequestHeader;

use crate::building::BuildError;
use crate::policy::auth::api_key::without;
use crate::policy::transform::editable;
use crate::problem::Problem;

/// The places to look at.
#[derive(Debug)]
pub(crate) struct Sources {
    /// A header.
    pub header: Option<HeaderName>,
    /// A query parameter.
    pub query: Option<String>,
    /// A cookie.
    pub cookie: Option<String>,
}

/// More than one token was sent: one could be read here and another behind us (RFC 6750 §2).
#[derive(Debug)]
pub(crate) struct Several;

impl Sources {
    /// Those of the settings; the usual header where nothing is set.
    ///
    /// # Errors
    /// A name that is none, at its place.
    pub(crate) fn build(header: Option<&str>, query: Option<&str>, cookie: Option<&str>) -> Result<Self, BuildError> {
        for (name, value) in [("query", query), ("cookie", cookie)] {
            if value == Some("") {
                return Err(BuildError::new(format!("a {name} needs a name"), "write its name, like `token`").at(name));
            }
        }
        let header = match header {
            None if query.is_some() || cookie.is_some() => None,
            None => Some(header::AUTHORIZATION),
            Some(name) => Some(editable(name).map_err(|error| error.at("header"))?),
        };
        Ok(Self { header, query: query.map(Into::into), cookie: cookie.map(Into::into) })
    }

    /// The one token of a request.
    ///
    /// # Errors
    /// There is more than one.
    pub(crate) fn find<'a>(&'a self, req: &'a RequestHeader) -> Result<Option<Cow<'a, [u8]>>, Several> {
        // Every `Authorization` counts, of whatever scheme: the header cannot stand twice (RFC 9110 §11.6.2).
        if self.header == Some(header::AUTHORIZATION) && req.headers.get_all(header::AUTHORIZATION).iter().nth(1).is_some() {
            return Err(Several);
        }
        let headers = self.header.iter().flat_map(|name| {
            let values = req.headers.get_all(name).iter().map(HeaderValue::as_bytes);
            values.filter_map(move |value| match bearer(value) {
                None if *name == header::AUTHORIZATION => None,
                None => Some(value),
                token => token,
            })
        });
        let pairs = self.query.iter().flat_map(|name| {
            let pairs = form_urlencoded::parse(req.uri.query().unwrap_or_default().as_bytes());
            pairs.filter(move |(key, _)| key == name).map(|(_, token)| Cow::Owned(token.into_owned().into_bytes()))
        });
        let cookies = self.cookie.iter().flat_map(|name| {
            let values = cookies(req).filter_map(move |(key, pair)| (key == name.as_bytes()).then_some(pair));
            values.map(|pair| pair.splitn(2, |byte| *byte == b'=').nth(1).unwrap_or_default())
        });
        let mut sent = headers.chain(cookies).map(Cow::Borrowed).chain(pairs);
        match (sent.next(), sent.next()) {
            (_, Some(_)) => Err(Several),
            (token, None) => Ok(token),
        }
    }

    /// Takes the token out, wherever it may be; all else stays.
    ///
    /// # Errors
    /// What is left of the query cannot be forwarded.
    pub(crate) fn remove(&self, req: &mut RequestHeader) -> Result<(), Problem> {
        if let Some(name) = &self.header
            && (*name != header::AUTHORIZATION || req.headers.get(name).is_some_and(|value| bearer(value.as_bytes()).is_some()))
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

/// What follows the scheme `Bearer`, in any case (RFC 9110 §11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(6)?;
    let separated = rest.first().is_none_or(|byte| *byte == b' ');
    (scheme.eq_ignore_ascii_case(b"Bearer") && separated).then(|| rest.trim_ascii_start())
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
        Sources { header: Some(header::AUTHORIZATION), query: Some("t".into()), cookie: Some("jwt".into()) }
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
        let sources = Sources { header: Some(HeaderName::from_static("x-token")), query: None, cookie: None };
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
