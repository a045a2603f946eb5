//! An issuer of tokens, whose keys and manners change while it runs.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use super::{Answer, Origin, port};

/// An issuer over HTTP. It tells where its keys are below its own URL, and has them at `/keys`.
pub struct Idp {
    pub issuer: String,
    address: SocketAddr,
    manners: Arc<Mutex<Manners>>,
    origin: Mutex<Option<Origin>>,
    keys: Mutex<HashMap<String, Ed25519KeyPair>>,
}

#[derive(Default)]
struct Manners {
    published: Vec<Value>,
    cache_control: Option<String>,
    /// What is answered to a path in the place of the truth.
    lies: HashMap<String, Answer>,
    asked: HashMap<String, Vec<Instant>>,
}

impl Idp {
    /// With one key, `k1`.
    pub fn start() -> Self {
        let idp = Self::down();
        idp.publish("k1");
        idp.revive();
        idp
    }

    /// One that nobody can reach yet, without keys.
    pub fn down() -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port()));
        Self { issuer: format!("http://{address}"), address, manners: Arc::default(), origin: Mutex::default(), keys: Mutex::default() }
    }

    /// From now on nobody reaches it.
    pub fn kill(&self) {
        *self.origin.lock().unwrap() = None;
    }

    /// From now on it answers.
    pub fn revive(&self) {
        let (manners, issuer) = (self.manners.clone(), self.issuer.clone());
        let answer = move |seen: &super::origin::Seen| manners.lock().unwrap().answer(&issuer, &seen.target);
        *self.origin.lock().unwrap() = Some(Origin::at(self.address, answer));
    }

    /// Makes a key, and shows it.
    pub fn publish(&self, kid: &str) {
        self.make(kid);
        let x = URL_SAFE_NO_PAD.encode(self.keys.lock().unwrap()[kid].public_key());
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid, "x": x});
        self.manners.lock().unwrap().published.push(jwk);
    }

    /// Makes a key, and tells nobody.
    pub fn make(&self, kid: &str) {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        self.keys.lock().unwrap().insert(kid.to_owned(), Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap());
    }

    /// Takes a key back.
    pub fn withdraw(&self, kid: &str) {
        self.manners.lock().unwrap().published.retain(|jwk| jwk["kid"] != kid);
    }

    /// What it says of how long its keys hold.
    pub fn cache_control(&self, value: &str) {
        self.manners.lock().unwrap().cache_control = Some(value.to_owned());
    }

    /// Answers this to a path from now on.
    pub fn lie(&self, path: &str, answer: Answer) {
        self.manners.lock().unwrap().lies.insert(path.to_owned(), answer);
    }

    /// Tells the truth again.
    pub fn repent(&self) {
        self.manners.lock().unwrap().lies.clear();
    }

    /// How often it was asked for a path.
    pub fn asked(&self, path: &str) -> usize {
        self.asked_at(path).len()
    }

    /// When it was asked for a path.
    pub fn asked_at(&self, path: &str) -> Vec<Instant> {
        self.manners.lock().unwrap().asked.get(path).cloned().unwrap_or_default()
    }

    /// What a good token says.
    pub fn claims(&self) -> Value {
        json!({"iss": self.issuer, "aud": "api", "exp": now() + 3600, "sub": "ada", "scope": "read"})
    }

    /// A good token, signed with this key.
    pub fn token(&self, kid: &str) -> String {
        self.token_of(kid, &self.claims())
    }

    /// A token that says this.
    pub fn token_of(&self, kid: &str, claims: &Value) -> String {
        self.signed(&json!({"alg": "EdDSA", "typ": "at+jwt", "kid": kid}), kid, claims)
    }

    /// The same with another header.
    pub fn signed(&self, header: &Value, kid: &str, claims: &Value) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = self.keys.lock().unwrap()[kid].sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

impl Manners {
    fn answer(&mut self, issuer: &str, path: &str) -> Answer {
        self.asked.entry(path.to_owned()).or_default().push(Instant::now());
        if let Some(lie) = self.lies.get(path) {
            return lie.clone();
        }
        let body = match path {
            "/.well-known/openid-configuration" => json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")}),
            "/keys" => json!({"keys": self.published}),
            _ => return http::Response::builder().status(404).body(String::new()).unwrap(),
        };
        let mut answer = http::Response::builder();
        if let Some(control) = &self.cache_control {
            answer = answer.header("cache-control", control);
        }
        answer.body(body.to_string()).unwrap()
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The line of a request that carries a token.
pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}
