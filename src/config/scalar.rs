use std::fmt;

/// One leaf of a document: what was written, and what YAML takes it for.
#[derive(Clone, PartialEq)]
pub struct Scalar {
    /// The text: as written for a plain scalar, without quotes and escapes for a quoted one.
    pub text: String,
    /// What the text means.
    pub kind: Kind,
    /// Whether it was quoted, a block (`|`, `>`) or tagged `!!str`: then it is text, whatever it looks like.
    pub quoted: bool,
    /// Set when part of the text came from outside the file; such a text is never shown.
    pub hidden: Option<Box<Hidden>>,
}

/// What of a scalar must not be shown, and what may be shown instead.
#[derive(Clone, PartialEq)]
pub struct Hidden {
    /// The text as written in the file: `${NAME}`.
    pub source: String,
    /// The values that came from the environment or from files.
    pub values: Vec<String>,
}

/// What a scalar means by the core schema (YAML 1.2.2 §10.3.2): `on`, `off`, `yes` and `no` are text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Nothing, `~`, `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number: decimal, `0x`, `0o`.
    Int(i64),
    /// A whole number above what `Int` holds.
    Big(u64),
    /// Any other number, `.inf` and `.nan` too; whole numbers beyond 64 bits.
    Float(f64),
    /// Text.
    Text,
}

impl Scalar {
    /// A scalar that is text, whatever it looks like.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), kind: Kind::Text, quoted: true, hidden: None }
    }

    /// A scalar without quotes: its text decides what it is.
    pub fn plain(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { kind: Kind::of(&text), text, quoted: false, hidden: None }
    }

    /// A scalar with one of the core schema's tags (`str`, `int`, `float`, `bool`, `null`), if it fits.
    pub fn tagged(text: &str, tag: &str) -> Option<Self> {
        let plain = Self::plain(text);
        let kind = match (tag, plain.kind) {
            ("str", _) => return Some(Self::text(text)),
            ("float", Kind::Int(int)) => Kind::Float(int as f64),
            ("int", kind @ (Kind::Int(_) | Kind::Big(_))) => kind,
            ("float", kind) if kind.is_number() => kind,
            ("bool", kind @ Kind::Bool(_)) | ("null", kind @ Kind::Null) => kind,
            _ => return None,
        };
        Some(Self { kind, ..plain })
    }
}

impl Scalar {
    /// Whether it is a number that is not finite, or a whole one beyond 64 bits.
    pub fn is_beyond(&self) -> bool {
        let digits = self.text.trim_start_matches(['-', '+']);
        matches!(self.kind, Kind::Float(float) if !float.is_finite() || digits.bytes().all(|byte| byte.is_ascii_digit()))
    }
}

/// Prints `***` in the place of a value from outside, so that a tree can be logged.
impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hidden {
            Some(hidden) => write!(f, "*** ({})", hidden.source),
            None => write!(f, "{:?} ({:?})", self.text, self.kind),
        }
    }
}

impl Kind {
    /// What a plain text means. Numbers that 64 bits cannot hold become floats.
    pub fn of(text: &str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
            "true" | "True" | "TRUE" => return Kind::Bool(true),
            "false" | "False" | "FALSE" => return Kind::Bool(false),
            ".nan" | ".NaN" | ".NAN" => return Kind::Float(f64::NAN),
            _ => {}
        }
        let (negative, bare) = match text.as_bytes().first() {
            Some(b'-') => (true, text.get(1..).unwrap_or_default()),
            Some(b'+') => (false, text.get(1..).unwrap_or_default()),
            Some(b'0'..=b'9' | b'.') => (false, text),
            _ => return Kind::Text,
        };
        if matches!(bare, ".inf" | ".Inf" | ".INF") {
            return Kind::Float(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
        }
        // The core schema allows a sign for decimal numbers only.
        for (prefix, radix) in [("0x", 16), ("0o", 8)] {
            if let Some(digits) = text.strip_prefix(prefix) {
                return if !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix)) {
                    u64::from_str_radix(digits, radix).map_or(Kind::Text, Kind::whole)
                } else {
                    Kind::Text
                };
            }
        }
        if !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_digit()) {
            if let Ok(int) = text.parse::<i64>() {
                return Kind::Int(int);
            }
            if !negative && let Ok(big) = bare.parse::<u64>() {
                return Kind::Big(big);
            }
        }
        if looks_like_float(bare) { text.parse().map_or(Kind::Text, Kind::Float) } else { Kind::Text }
    }

    fn whole(number: u64) -> Self {
        i64::try_from(number).map_or(Kind::Big(number), Kind::Int)
    }

    /// Whether this is a number of any sort.
    pub fn is_number(self) -> bool {
        matches!(self, Kind::Int(_) | Kind::Big(_) | Kind::Float(_))
    }
}

/// `[0-9]*` with an optional fraction and exponent, and at least one digit before the exponent.
fn looks_like_float(bare: &str) -> bool {
    let (mantissa, exponent) = bare.split_once(['e', 'E']).map_or((bare, None), |(mantissa, exponent)| (mantissa, Some(exponent)));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_holds = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty()) && exponent_holds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_follow_the_core_schema() {
        for text in [
            "on",
            "off",
            "yes",
            "no",
            "y",
            "1.2.3",
            "10.0.0.0/8",
            "1s",
            "0x",
            "0xg",
            "-",
            "+",
            ".",
            "-.",
            "1e",
            "1_000",
            "1:30",
            "-0x1",
            "inf",
            "nan",
        ] {
            assert_eq!(Kind::of(text), Kind::Text, "{text}");
        }
        for text in ["", "~", "null"] {
            assert_eq!(Kind::of(text), Kind::Null, "{text}");
        }
        assert_eq!(Kind::of("true"), Kind::Bool(true));
        assert_eq!(Kind::of("FALSE"), Kind::Bool(false));
    }

    #[test]
    fn numbers_are_read_in_all_their_forms() {
        assert_eq!(Kind::of("8"), Kind::Int(8));
        assert_eq!(Kind::of("-8"), Kind::Int(-8));
        assert_eq!(Kind::of("+8"), Kind::Int(8));
        assert_eq!(Kind::of("010"), Kind::Int(10));
        assert_eq!(Kind::of("0x1F"), Kind::Int(31));
        assert_eq!(Kind::of("0o17"), Kind::Int(15));
        assert_eq!(Kind::of("18446744073709551615"), Kind::Big(u64::MAX));
        assert_eq!(Kind::of("18446744073709551616"), Kind::Float(18_446_744_073_709_551_616.0));
        assert_eq!(Kind::of("1.0"), Kind::Float(1.0));
        assert_eq!(Kind::of(".5"), Kind::Float(0.5));
        assert_eq!(Kind::of("5."), Kind::Float(5.0));
        assert_eq!(Kind::of("1e3"), Kind::Float(1000.0));
        assert_eq!(Kind::of("-.inf"), Kind::Float(f64::NEG_INFINITY));
        assert!(matches!(Kind::of(".nan"), Kind::Float(x) if x.is_nan()));
    }

    #[test]
    fn a_value_from_outside_is_not_printed() {
        let hidden = Some(Box::new(Hidden { source: "${PW}".into(), values: vec!["hunter2".into()] }));
        assert_eq!(format!("{:?}", Scalar { hidden, ..Scalar::plain("hunter2") }), "*** (${PW})");
    }
}
