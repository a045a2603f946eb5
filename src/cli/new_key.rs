use std::process::ExitCode;

use clap::Args;
use rand::RngExt as _;
use rand::distr::Alphanumeric;

use super::{print, say};
use crate::consumer::KeyHash;

/// What the key shall be like.
#[derive(Debug, Args)]
pub struct NewKey {
    /// What it begins with: whose keys they are, and for what. Secret scanners find keys by it.
    #[arg(long, default_value = "tg")]
    prefix: String,
    /// Print JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Letters and digits that tell keys of one prefix apart.
const ID: usize = 8;

/// Letters and digits that nobody can guess: 43 of 62 are 256 bits.
const SECRET: usize = 43;

/// `tidegate new-key`.
pub fn new_key(asked: &NewKey) -> ExitCode {
    let prefix = asked.prefix.as_str();
    if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        say(&format!("`{prefix}` is no beginning of a key: use letters, digits and `_`, like `acme_live`"));
        return ExitCode::FAILURE;
    }
    let random = |length: usize| rand::rng().sample_iter(Alphanumeric).take(length).map(char::from).collect::<String>();
    let id = format!("{prefix}_{}", random(ID));
    let key = format!("{id}_{}", random(SECRET));
    let hash = format!("sha256:{}", KeyHash::of(key.as_bytes()).hex());
    if asked.json {
        print(&serde_json::json!({"key": key, "id": id, "hash": hash}).to_string());
    } else {
        print(&format!("key   {key}\nid    {id}\nhash  {hash}"));
    }
    ExitCode::SUCCESS
}
