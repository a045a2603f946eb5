use std::io::Read as _;
use std::process::ExitCode;

use clap::Args;

use super::{print, say};
use crate::consumer::{KeyHash, PasswordHash};
use crate::policy::auth::basic;

/// What to hash.
#[derive(Debug, Args)]
pub struct HashKey {
    /// The key. Others can see the arguments of a command: better leave it out, and give it on standard input.
    key: Option<String>,
    /// Hash a password, for `passwords` of a consumer.
    #[arg(long)]
    password: bool,
}

/// The longest key.
const LONGEST: usize = 64 * 1024;

/// `tidegate hash-key`.
pub fn hash_key(asked: &HashKey) -> ExitCode {
    match hash(asked) {
        Ok(hash) => {
            print(&hash);
            ExitCode::SUCCESS
        }
        Err(why) => {
            say(&why);
            ExitCode::FAILURE
        }
    }
}

fn hash(asked: &HashKey) -> Result<String, String> {
    let key = match &asked.key {
        Some(key) => key.clone().into_bytes(),
        None => read().map_err(|error| format!("standard input cannot be read: {error}"))?,
    };
    if key.is_empty() {
        return Err("there is nothing to hash: give it on standard input, without a line break or with one behind it".to_owned());
    }
    if key.len() > LONGEST {
        return Err(format!("it is too long: no key has more than {LONGEST} bytes"));
    }
    if asked.password {
        sendable(&key)?;
        return PasswordHash::of(&key, rand::random()).map(|hash| hash.reveal().to_owned());
    }
    if key.iter().any(u8::is_ascii_whitespace) {
        return Err("a key has no white space: a header would change it".to_owned());
    }
    Ok(format!("sha256:{}", KeyHash::of(&key).hex()))
}

/// Whether a client can send this password at all: `basic` takes no other.
fn sendable(password: &[u8]) -> Result<(), &'static str> {
    let text = str::from_utf8(password).map_err(|_| "a password is sent in UTF-8, which this is not")?;
    if text.contains(char::is_control) {
        return Err("there are control characters in it, which no client can send (RFC 7617)");
    }
    // The user name has a byte at least, and a colon is between them.
    if text.len() > basic::MOST - 2 { Err("it is too long: user name and password have a thousand bytes at most") } else { Ok(()) }
}

/// All of standard input, without the line break that terminals and `echo` put behind it.
fn read() -> std::io::Result<Vec<u8>> {
    let mut key = Vec::new();
    std::io::stdin().lock().take(LONGEST as u64 + 3).read_to_end(&mut key)?;
    for end in [b'\n', b'\r'] {
        if key.last() == Some(&end) {
            key.pop();
        }
    }
    Ok(key)
}
