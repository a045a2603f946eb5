use std::fmt;
use std::str::FromStr;

use argon2::password_hash::PasswordVerifier as _;
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use bcrypt::HashParts;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The hash of a password: argon2id as a PHC string, `$argon2id$v=19$m=19456,t=2,p=1$…`, or bcrypt, `$2b$12$…`.
#[derive(Clone, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String", extend("pattern" = r"^\$(argon2id|2[aby])\$"))]
pub struct PasswordHash {
    text: Box<str>,
    cost: Cost,
}

/// What it costs to try a password against a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cost {
    /// Memory in KiB, passes over it, and lanes, as RFC 9106 §3.1 has them; and bytes of the hash.
    Argon2id {
        /// KiB.
        memory: u32,
        /// Passes.
        passes: u32,
        /// Lanes.
        lanes: u32,
        /// Bytes.
        output: usize,
    },
    /// The number of rounds is two to the power of this.
    Bcrypt(u32),
}

/// What OWASP's cheat sheet on password storage recommends first of what RFC 9106 has: 19 MiB, two passes.
impl Default for Cost {
    fn default() -> Self {
        Cost::Argon2id { memory: 19 * 1024, passes: 2, lanes: 1, output: 32 }
    }
}

/// KiB that a try may take in all its passes: about a second, which is long for whoever waits.
const MOST_ARGON2: u64 = 1024 * 1024;

/// KiB that it may take at once.
const MOST_MEMORY: u32 = 256 * 1024;

/// About a second too.
const MOST_BCRYPT: u32 = 14;

/// What follows is not looked at by bcrypt.
const LONGEST_BCRYPT: usize = 72;

impl PasswordHash {
    /// Hashes a password with argon2id, at the usual cost.
    ///
    /// # Errors
    /// It is longer than argon2 takes.
    pub fn of(password: &[u8], salt: [u8; 16]) -> Result<Self, String> {
        use argon2::password_hash::{PasswordHasher as _, SaltString};
        let salt = SaltString::encode_b64(&salt).map_err(|error| error.to_string())?;
        let hash = Argon2::default().hash_password(password, &salt).map_err(|error| error.to_string())?;
        hash.to_string().parse()
    }

    /// What it costs to try a password.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// The hash as it is written. It is no secret as the password is, but who has it can try passwords at home.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// Whether the password is the one. Takes tens of milliseconds: nothing for a worker.
    pub fn verify(&self, password: &[u8]) -> bool {
        match self.cost {
            Cost::Argon2id { .. } => {
                let hash = argon2::PasswordHash::new(&self.text);
                hash.is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
            }
            // Another one with the same beginning would do. It takes its time all the same.
            Cost::Bcrypt(_) => bcrypt::verify(password, &self.text).unwrap_or(false) && password.len() <= LONGEST_BCRYPT,
        }
    }
}

impl Cost {
    /// Takes as long as to try a password, and finds nothing: so nobody can tell by the time whether there is a hash at all.
    pub fn spend(self, password: &[u8]) {
        const SALT: [u8; 16] = [0x5a; 16];
        match self {
            Cost::Argon2id { memory, passes, lanes, output } => {
                if let Ok(params) = Params::new(memory, passes, lanes, Some(output)) {
                    let mut out = vec![0; output];
                    let _ = Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(password, &SALT, &mut out);
                    std::hint::black_box(out);
                }
            }
            Cost::Bcrypt(cost) => {
                let _ = std::hint::black_box(bcrypt::hash_with_salt(password, cost, SALT));
            }
        }
    }
}

impl FromStr for PasswordHash {
    /// What is wrong and what to do.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const MAKE: &str = "make one with `tidegate hash-key --password`";
        let cost = match text.split('$').nth(1) {
            Some("argon2id") => argon2id(text),
            Some("2a" | "2b" | "2y") => of_bcrypt(text),
            _ => return Err(format!("this is no hash of a password by argon2id or bcrypt; {MAKE}")),
        };
        let cost = cost.ok_or_else(|| format!("this hash of a password is damaged; {MAKE}"))?;
        let dear = match cost {
            Cost::Argon2id { memory, passes, .. } => u64::from(memory) * u64::from(passes) > MOST_ARGON2 || memory > MOST_MEMORY,
            Cost::Bcrypt(cost) => cost > MOST_BCRYPT,
        };
        if dear {
            return Err(format!("to try a password against this hash takes too long; {MAKE}, or with less memory, fewer passes or rounds"));
        }
        Ok(Self { text: text.into(), cost })
    }
}

fn argon2id(text: &str) -> Option<Cost> {
    let hash = argon2::PasswordHash::new(text).ok()?;
    let params = Params::try_from(&hash).ok()?;
    let output = hash.hash?.len();
    // RFC 9106 §3.1: 0x13 is the version. A tag shorter than 16 bytes or a salt shorter than 8 is nobody's.
    (hash.version == Some(0x13) && hash.salt.is_some() && output >= 16).then_some(Cost::Argon2id {
        memory: params.m_cost(),
        passes: params.t_cost(),
        lanes: params.p_cost(),
        output,
    })
}

fn of_bcrypt(text: &str) -> Option<Cost> {
    let cost = text.parse::<HashParts>().ok()?.get_cost();
    // The crate is not strict, and would tell only a caller.
    let (start, rest) = text.split_at_checked(7)?;
    let (salt, hash) = rest.split_at_checked(22)?;
    let strict = start.ends_with(&format!("${cost:02}$")) && cost >= 4;
    let decoded = bcrypt::BASE_64.decode(salt).is_ok() && bcrypt::BASE_64.decode(hash).is_ok_and(|hash| hash.len() == 23);
    (strict && decoded).then_some(Cost::Bcrypt(cost))
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for PasswordHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl<'de> Deserialize<'de> for PasswordHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `pencil`, cheap: 8 KiB and one pass.
    const ARGON2: &str = "$argon2id$v=19$m=8,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$TNXVaepwoQBOVs70Xg+kbVgzd21gRaq+ul2VEICRv7g";
    /// Of `pencil`, with 16 rounds.
    const BCRYPT: &str = "$2b$04$XKSqeh1I93xkQYf6WErzougS2WebBwr1aiWS1YIBBOu7XtRTmJ9FG";

    fn read(text: &str) -> Result<PasswordHash, String> {
        serde_json::from_value(text.into()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_password_fits_and_another_does_not() {
        for text in [ARGON2, BCRYPT, &BCRYPT.replacen("$2b", "$2y", 1)] {
            let hash = read(text).unwrap();
            assert!(hash.verify(b"pencil"), "{text}");
            for other in [&b"Pencil"[..], b"pencil ", b"", b"pencil\0"] {
                assert!(!hash.verify(other), "{text} {other:?}");
            }
        }
    }

    #[test]
    fn a_long_password_fits_no_hash_of_its_beginning() {
        let hash = read(&bcrypt::hash("x".repeat(100), 4).unwrap()).unwrap();
        assert!(!hash.verify("x".repeat(100).as_bytes()) && hash.verify("x".repeat(72).as_bytes()));
    }

    #[test]
    fn a_new_hash_is_argon2id_of_the_password() {
        let hash = PasswordHash::of(b"pencil", [7; 16]).unwrap();
        assert!(hash.reveal().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_eq!(hash.cost(), Cost::default());
        assert!(hash.verify(b"pencil") && !hash.verify(b"other"));
    }

    #[test]
    fn what_is_no_hash_or_takes_too_long_is_refused() {
        for (text, reason) in [
            ("pencil", "no hash of a password"),
            ("$1$salt$hash", "no hash of a password"),
            ("$2x$04$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuabcdefghi", "no hash of a password"),
            (&ARGON2.replacen("argon2id", "argon2i", 1), "no hash of a password"),
            (&ARGON2[..ARGON2.len() - 30], "damaged"),
            (&ARGON2.replacen("v=19", "v=16", 1), "damaged"),
            (&ARGON2.replacen("t=1", "t=0", 1), "damaged"),
            (&BCRYPT[..BCRYPT.len() - 1], "damaged"),
            (&BCRYPT.replacen("$04$", "$4$0", 1), "damaged"),
            (&BCRYPT.replacen("$04$", "$03$", 1), "damaged"),
            (&ARGON2.replacen("m=8", "m=2097152", 1), "takes too long"),
            (&ARGON2.replacen("m=8,t=1", "m=65536,t=17", 1), "takes too long"),
            (&BCRYPT.replacen("$04$", "$15$", 1), "takes too long"),
        ] {
            let told = read(text).unwrap_err();
            assert!(told.contains(reason) && !told.contains(text), "{text}: {told}");
        }
    }

    #[test]
    fn to_spend_a_cost_takes_as_long_as_to_try_a_password() {
        // Of this thread alone, whatever else the machine does.
        let taken = || -> u64 {
            let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
            told.split(' ').next().unwrap().parse().unwrap()
        };
        let cost = |work: &dyn Fn()| {
            let before = taken();
            (0..10).for_each(|_| work());
            taken() - before
        };
        for text in [PasswordHash::of(b"pencil", [7; 16]).unwrap().reveal(), &bcrypt::hash("pencil", 8).unwrap()] {
            let hash = read(text).unwrap();
            let (tried, spent) = (cost(&|| assert!(!hash.verify(b"pen"))), cost(&|| hash.cost().spend(b"pen")));
            assert!(spent > tried / 2 && spent < tried * 2, "{text}: tried {tried} ns, spent {spent} ns");
        }
    }

    #[test]
    fn a_hash_is_never_shown() {
        let hash = read(ARGON2).unwrap();
        assert_eq!((format!("{hash:?}"), serde_json::to_string(&hash).unwrap()), ("***".to_owned(), "\"***\"".to_owned()));
    }
}
