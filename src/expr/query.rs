//! Query strings, pair by pair (WHATWG URL §5.1).

use std::borrow::Cow;

/// The first value of a parameter, decoded: `+` is a space.
pub fn query<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value)
}

/// The query without the parameters whose decoded names are refused; the others stay as they were sent, to the byte.
pub fn without<'q>(query: &'q str, refused: impl Fn(&str) -> bool) -> Cow<'q, str> {
    let goes = |pair: &&str| form_urlencoded::parse(pair.as_bytes()).any(|(key, _)| refused(&key));
    if !query.split('&').any(|pair| goes(&pair)) {
        return Cow::Borrowed(query);
    }
    Cow::Owned(query.split('&').filter(|pair| !goes(pair)).collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_taken_out_by_their_decoded_names_and_the_others_stay_to_the_byte() {
        let key = |name: &str| name == "key";
        assert_eq!(without("x=%41&k%65y=test&y=2+2&key&=", key), "x=%41&y=2+2&=");
        assert_eq!(without("key=1", key), "");
        assert!(matches!(without("x=%41&&keys=1", key), Cow::Borrowed("x=%41&&keys=1")));
    }
}
