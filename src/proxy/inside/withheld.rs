use http::{HeaderMap, HeaderName, HeaderValue, header};
use pingora_http::RequestHeader;

use crate::problem::Problem;
use crate::proxy::Exchange;

/// What a request says to the gateway alone, such as the key that names its consumer: the policies of those inside of it may read it too, and no service gets it.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Withheld(Vec<Taken>);

/// What is taken away of one header.
#[derive(Clone, Debug)]
struct Taken {
    name: HeaderName,
    /// Lines, or cookies.
    pieces: Vec<Vec<u8>>,
}

impl Withheld {
    /// What the policies of a request would take away of its header before a service got it. What they would add is theirs.
    ///
    /// # Errors
    /// The problem of a policy that would not let it go out.
    pub fn of(exchange: &mut Exchange, req: &RequestHeader) -> Result<Self, Problem> {
        let (chain, cx, _) = exchange.parts();
        if !chain.minds_attempts() {
            return Ok(Self::default());
        }
        let mut goes = req.clone();
        chain.upstream_request(&mut goes, cx)?;
        Ok(Self::between(&req.headers, &goes.headers))
    }

    fn between(said: &HeaderMap, goes: &HeaderMap) -> Self {
        let taken = said.keys().map(|name| {
            let stay = pieces(goes, name);
            let pieces = pieces(said, name).into_iter().filter(|piece| !stay.contains(piece)).map(<[u8]>::to_vec).collect();
            Taken { name: name.clone(), pieces }
        });
        Self(taken.filter(|taken| !taken.pieces.is_empty()).collect())
    }

    /// The same without that of these headers.
    pub fn without(&self, names: &[HeaderName]) -> Self {
        Self(self.0.iter().filter(|taken| !names.contains(&taken.name)).cloned().collect())
    }

    /// Takes it away.
    pub fn take(&self, req: &mut RequestHeader) {
        for Taken { name, pieces: taken } in &self.0 {
            let all = pieces(&req.headers, name);
            let rest: Vec<_> = all.iter().filter(|piece| !taken.iter().any(|taken| taken == *piece)).copied().collect();
            if rest.len() == all.len() {
                continue;
            }
            let rest = if *name == header::COOKIE && !rest.is_empty() {
                vec![rest.join(&b"; "[..])]
            } else {
                rest.into_iter().map(<[u8]>::to_vec).collect()
            };
            req.remove_header(name);
            for value in rest.iter().filter_map(|piece| HeaderValue::from_bytes(piece).ok()) {
                let _ = req.append_header(name.clone(), value);
            }
        }
    }
}

/// The lines of a header, or the cookies in them (RFC 6265 §4.2.1).
fn pieces<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Vec<&'h [u8]> {
    let lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    if *name != header::COOKIE {
        return lines.collect();
    }
    lines.flat_map(|line| line.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii).filter(|cookie| !cookie.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn left(withheld: &Withheld, lines: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut req = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in lines {
            req.append_header(*name, *value).unwrap();
        }
        withheld.take(&mut req);
        let mut lines: Vec<_> = req.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    #[test]
    fn what_would_not_go_out_is_taken_away_and_nothing_is_added() {
        let said = [("x-key", "k"), ("cookie", "a=b; t=1;  c=d"), ("cookie", "e=f"), ("x-user", "ann"), ("x-two", "1"), ("x-two", "2")];
        let goes = [("cookie", "a=b; c=d; e=f"), ("x-user", "bob"), ("x-secret", "s"), ("x-two", "2")];
        let withheld = Withheld::between(&headers(&said), &headers(&goes));
        assert_eq!(left(&withheld, &said), ["cookie: a=b; c=d; e=f", "x-two: 2"]);
        assert_eq!(left(&withheld, &[("cookie", "t=1"), ("x-user", "bob"), ("x-other", "k")]), ["x-other: k", "x-user: bob"]);
        let own = withheld.without(&["x-key".parse().unwrap(), header::COOKIE]);
        assert_eq!(left(&own, &[("x-key", "k"), ("cookie", "t=1"), ("x-user", "ann")]), ["cookie: t=1", "x-key: k"]);
    }

    #[test]
    fn what_goes_out_as_it_is_stays_as_it_is() {
        let said = [("cookie", "a=b;c=d"), ("cookie", "e"), ("accept", "a"), ("accept", "b")];
        let withheld = Withheld::between(&headers(&said), &headers(&said));
        assert_eq!(left(&withheld, &said), ["accept: a", "accept: b", "cookie: a=b;c=d", "cookie: e"]);
    }
}
