use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::consumer::{Consumer, KeyHash};
use crate::types::{Duration, Moment, Rate};

/// An API key as it stands in Redis.
#[derive(Debug, PartialEq)]
pub(super) struct KeyRecord {
    /// The name of who has it.
    pub consumer: Arc<str>,
    /// What it is called in the log.
    pub id: Option<Arc<str>>,
    /// From when on it is refused.
    pub expires: Option<Moment>,
}

/// A token, or the tokens of a subject, that were taken back, as it stands in Redis.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Revocation {
    /// Those that were issued before alone.
    pub before: Option<Moment>,
    /// Those of this issuer alone.
    pub issuer: Option<String>,
}

/// What stands in a hash, in whatever bytes somebody has written.
pub(super) type Fields = HashMap<Vec<u8>, Vec<u8>>;

/// What anybody may write down beside, in any bytes.
const NOTE: &str = "note";

/// Reads a key.
///
/// # Errors
/// A field that is missing, unknown or wrong: whoever has the key is not let in on a guess.
pub(super) fn key(fields: Fields, hash: KeyHash) -> Result<KeyRecord, String> {
    let (mut consumer, mut id, mut expires) = (None, None, None);
    for (name, value) in &fields {
        match &*String::from_utf8_lossy(name) {
            name @ "consumer" => consumer = Some(text(name, value)?.into()),
            name @ "id" => id = Some(text(name, value)?).filter(|id| !id.is_empty()).map(Into::into),
            name @ "expires" => expires = Some(moment(name, value)?),
            NOTE => {}
            other => return Err(format!("there is no field `{other}`; there are `consumer`, `expires`, `id` and `note`")),
        }
    }
    let consumer = consumer.ok_or("it has no field `consumer`")?;
    if id.as_deref().is_some_and(|id: &str| KeyHash::of(id.as_bytes()) == hash) {
        return Err("`id` is the key itself, which would stand in the access log".to_owned());
    }
    Ok(KeyRecord { consumer, id, expires })
}

/// Reads what was taken back, and says what is wrong with it: such a field narrows nothing.
pub(super) fn revocation(fields: Fields) -> (Revocation, Vec<String>) {
    let (mut revocation, mut wrong) = (Revocation::default(), Vec::new());
    for (name, value) in &fields {
        let read = match &*String::from_utf8_lossy(name) {
            name @ "before" => moment(name, value).map(|moment| revocation.before = Some(moment)),
            name @ "issuer" => text(name, value).map(|issuer| revocation.issuer = Some(issuer.to_owned())),
            NOTE => Ok(()),
            other => Err(format!("there is no field `{other}`; there are `before`, `issuer` and `note`")),
        };
        wrong.extend(read.err());
    }
    (revocation, wrong)
}

fn text<'a>(name: &str, value: &'a [u8]) -> Result<&'a str, String> {
    str::from_utf8(value).map_err(|_| format!("`{name}` is not written in UTF-8"))
}

fn moment(name: &str, value: &[u8]) -> Result<Moment, String> {
    text(name, value)?.parse().map_err(|why| format!("`{name}`: {why}"))
}

/// Reads a consumer.
///
/// # Errors
/// A field that is unknown or wrong.
pub(super) fn consumer(name: &str, fields: Fields) -> Result<Consumer, String> {
    let (mut groups, mut labels, mut limits) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    for (field, value) in &fields {
        let field = &*String::from_utf8_lossy(field);
        match field.split_once(':') {
            None if field == "groups" => {
                let names = text(field, value)?.split(',').map(str::trim).filter(|group| !group.is_empty());
                groups = names.map(ToOwned::to_owned).collect();
            }
            None if field == NOTE => {}
            Some(("label", label)) => {
                labels.insert(label.to_owned(), text(field, value)?.to_owned());
            }
            Some(("limit", limit)) => {
                let value = text(field, value)?;
                let rate =
                    rate(value).ok_or_else(|| format!("`{field}`: `{value}` is no limit; write it like `1000/1m` or `1000/1m/50`"))?;
                limits.insert(limit.to_owned(), rate);
            }
            _ => return Err(format!("there is no field `{field}`; there are `groups`, `label:NAME`, `limit:NAME` and `note`")),
        }
    }
    let consumer = Consumer { name: name.to_owned(), groups, labels, limits, ..Consumer::default() };
    match consumer.check().0.first() {
        Some(wrong) => Err(wrong.to_string()),
        None => Ok(consumer),
    }
}

/// `REQUESTS/TIME` or `REQUESTS/TIME/BURST`.
fn rate(text: &str) -> Option<Rate> {
    let mut parts = text.split('/').map(str::trim);
    let (requests, per, burst) = (parts.next()?.parse().ok()?, humantime::parse_duration(parts.next()?).ok()?, parts.next());
    let burst = burst.map(str::parse).transpose().ok()?;
    parts.next().is_none().then_some(Rate { requests, per: Duration(per), burst })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash() -> KeyHash {
        KeyHash::of(b"key-1")
    }

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
    }

    /// The same with one more, of which a byte is no UTF-8.
    fn with_latin(pairs: &[(&str, &str)], name: &str) -> Fields {
        fields(pairs).into_iter().chain([(name.as_bytes().to_vec(), b"Ren\xe9".to_vec())]).collect()
    }

    #[test]
    fn a_note_may_be_in_any_bytes_and_nothing_else_may() {
        let (app, gold, old) = ([("consumer", "app")], [("groups", "gold")], [("before", "2026-01-01")]);
        assert_eq!(&*key(with_latin(&app, "note"), hash()).unwrap().consumer, "app");
        assert_eq!(consumer("app", with_latin(&gold, "note")).unwrap().groups, ["gold"]);
        let before = "2026-01-01".parse().ok();
        assert_eq!(revocation(with_latin(&old, "note")), (Revocation { before, issuer: None }, Vec::new()));
        assert_eq!(key(with_latin(&app, "id"), hash()).unwrap_err(), "`id` is not written in UTF-8");
        assert_eq!(consumer("app", with_latin(&gold, "label:of")).unwrap_err(), "`label:of` is not written in UTF-8");
        let wrong = vec!["`issuer` is not written in UTF-8".to_owned()];
        assert_eq!(revocation(with_latin(&old, "issuer")), (Revocation { before, issuer: None }, wrong));
    }

    #[test]
    fn a_key_is_read_as_it_was_written() {
        let read = key(fields(&[("consumer", "app"), ("id", "tg_1"), ("expires", "2030-01-01"), ("note", "for Ann")]), hash()).unwrap();
        assert_eq!((&*read.consumer, read.id.as_deref(), read.expires), ("app", Some("tg_1"), "2030-01-01".parse().ok()));
        assert_eq!(
            key(fields(&[("consumer", "app"), ("id", "")]), hash()).unwrap(),
            KeyRecord { consumer: "app".into(), id: None, expires: None }
        );
    }

    #[test]
    fn a_key_that_may_be_a_slip_is_none() {
        for (pairs, why) in [
            (&[("id", "a")][..], "no field `consumer`"),
            (&[("consumer", "app"), ("expire", "2020-01-01")], "no field `expire`"),
            (&[("consumer", "app"), ("expires", "tomorrow")], "`expires`: `tomorrow` is not a date"),
            (&[("consumer", "app"), ("expires", "")], "`expires`"),
            (&[("consumer", "app"), ("id", "key-1")], "`id` is the key itself"),
        ] {
            assert!(key(fields(pairs), hash()).unwrap_err().contains(why), "{pairs:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_revocation_narrows_nothing() {
        let (read, wrong) = revocation(fields(&[("before", "2026-01-01"), ("issuer", "https://a"), ("note", "x")]));
        assert_eq!((read, wrong.len()), (Revocation { before: "2026-01-01".parse().ok(), issuer: Some("https://a".to_owned()) }, 0));
        for (pair, why) in [(("before", "soon"), "`before`: `soon` is not a date"), (("iss", "https://a"), "no field `iss`")] {
            let (read, wrong) = revocation(fields(&[pair]));
            assert_eq!(read, Revocation::default());
            assert!(wrong[0].contains(why), "{wrong:?}");
        }
    }

    #[test]
    fn a_consumer_is_read_as_it_was_written() {
        let pairs =
            [("groups", "gold, eu"), ("label:tenant", "acme"), ("limit:default", "1000/1m/50"), ("limit:daily", "5/1day"), ("note", "x")];
        let read = consumer("app", fields(&pairs)).unwrap();
        assert_eq!(
            (read.name.as_str(), read.groups, read.labels["tenant"].as_str()),
            ("app", vec!["gold".to_owned(), "eu".to_owned()], "acme")
        );
        assert_eq!(read.limits["default"], Rate { requests: 1000, per: Duration::secs(60), burst: Some(50) });
        assert_eq!(read.limits["daily"], Rate { requests: 5, per: Duration::secs(86_400), burst: None });
    }

    #[test]
    fn a_consumer_that_may_be_a_slip_is_none() {
        for (pairs, why) in [
            (&[("group", "gold")][..], "no field `group`"),
            (&[("groups", "gold eu")], "not one word"),
            (&[("limit:default", "1000")], "`limit:default`"),
            (&[("limit:default", "0/1m")], "limit of no requests"),
            (&[("limit:default", "1/1m/2/3")], "`limit:default`"),
            (&[("tier:a", "b")], "no field `tier:a`"),
        ] {
            assert!(consumer("app", fields(pairs)).unwrap_err().contains(why), "{pairs:?}");
        }
    }
}
