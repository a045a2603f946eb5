//! Callers that are known by their certificates, and tokens that are good with one certificate alone.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::hmac;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::introspection::Knower;
use crate::support::certificates::{Authority, Identity};
use crate::support::client::H2;
use crate::support::gateway::{Folder, check};
use crate::support::idp::{bearer, now};
use crate::support::{Client, Gateway, Response};

const H1: &[&str] = &["http/1.1"];
const SECRET: &str = "0123456789abcdef0123456789abcdef";

struct Place {
    gateway: Gateway,
    server: Authority,
}

impl Place {
    /// A gateway for `a.test` that believes these clients; `policies` of its one route.
    fn start(clients: &Authority, policies: &str) -> Self {
        let (folder, server) = (Folder::new(), Authority::new());
        let identity = server.issue("a.test");
        for (name, text) in [("a.pem", &identity.cert), ("a.key", &identity.key), ("clients.pem", &clients.pem())] {
            folder.file(name, text);
        }
        let tls = "certificates: [{ cert: a.pem, key: a.key }], client_ca: clients.pem, client_certificate: optional";
        let gateway = Gateway::start_in(
            folder,
            &format!(
                "server:\n  listeners: [{{ address: \"127.0.0.1:0\", tls: {{ {tls} }} }}]\nconsumers: [{{ name: app }}, {{ name: shop }}, {{ name: app.test }}]\nservices: {{ echo: {{ mock: {{ echo: true }} }} }}\nroutes:\n  - name: api\n    policies:\n{policies}      - request: {{ headers: {{ set: {{ X-Consumer: \"{{consumer.name}}\" }} }} }}\n    to: echo\n"
            ),
        );
        Self { gateway, server }
    }

    fn client(&self, own: Option<&Identity>, protocols: &[&str]) -> Arc<ClientConfig> {
        self.server.client(own, protocols)
    }

    fn get(&self, own: Option<&Identity>, lines: &str) -> Response {
        Client::secure(self.gateway.address, &self.client(own, H1), "a.test").get_with("/", lines)
    }

    async fn get2(&self, own: Option<&Identity>, headers: &[(&str, &str)]) -> (u16, Value, Option<String>) {
        let h2 = H2::secure(self.gateway.address, &self.client(own, &["h2"]), "a.test").await;
        let (head, body) = h2.request("GET", "/", headers, &[]).await;
        let challenge = head.headers.get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
        (head.status.as_u16(), serde_json::from_slice(&body).unwrap(), challenge)
    }
}

/// The SHA-256 of a certificate.
fn print(identity: &Identity) -> Vec<u8> {
    digest(&SHA256, &CertificateDer::from_pem_slice(identity.cert.as_bytes()).unwrap()).as_ref().to_vec()
}

#[tokio::test]
async fn a_certificate_names_the_consumer_over_http1_and_http2() {
    let clients = Authority::new();
    let service = clients.issue_with("one.test", |params| {
        params.subject_alt_names.push(rcgen::SanType::URI("spiffe://test/shop".try_into().unwrap()));
    });
    let mail = clients.issue_with("two.test", |params| {
        params.subject_alt_names.push(rcgen::SanType::Rfc822Name("app@two.test".try_into().unwrap()));
    });
    let (own, stranger, pinned) = (clients.issue("app.test"), clients.issue("other.test"), clients.issue("third.test"));
    let hex: Vec<_> = print(&pinned).iter().map(|byte| format!("{byte:02X}")).collect();
    let policies = format!(
        "      - mtls: {{ consumer: dns, certificates: [{{ consumer: shop, uri: \"spiffe://test/shop\" }}, {{ consumer: app, email: app@two.test }}, {{ consumer: app, fingerprint: \"{}\" }}] }}\n",
        hex.join(":")
    );
    let place = Place::start(&clients, &policies);
    for (identity, who) in [(&service, "shop"), (&mail, "app"), (&pinned, "app"), (&own, "app.test")] {
        let answer = place.get(Some(identity), "");
        assert_eq!((answer.status, answer.json()["headers"]["x-consumer"].as_str()), (200, Some(who)));
        let (status, body, _) = place.get2(Some(identity), &[]).await;
        assert_eq!((status, body["headers"]["x-consumer"].as_str()), (200, Some(who)));
        place.gateway.await_log("the consumer", |line| line["consumer"] == who);
    }
    let answer = place.get(Some(&stranger), "");
    assert_eq!(answer.problem(403, "forbidden")["detail"], "the client certificate names no known consumer");
    assert_eq!(place.get2(Some(&stranger), &[]).await.0, 403);
    let line = place.gateway.await_log("the stranger", |line| line["status"] == 403);
    assert!(line["cause"].as_str().unwrap().starts_with("subject CN=other.test, SHA-256 "), "{line}");
    let answer = place.get(None, "");
    answer.problem(401, "unauthorized");
    assert_eq!(answer.header("www-authenticate"), Some(r#"ClientCertificate realm="tidegate""#));
    let (status, _, challenge) = place.get2(None, &[]).await;
    assert_eq!((status, challenge.as_deref()), (401, Some(r#"ClientCertificate realm="tidegate""#)));
    // A header says nothing of certificates.
    assert_eq!(place.get(None, "Client-Cert: :AAAA:\r\nX-SSL-Client-S-DN: CN=app.test\r\n").status, 401);
}

#[test]
fn a_certificate_may_be_missing_where_others_will_do() {
    let clients = Authority::new();
    let place = Place::start(&clients, "      - mtls: { consumer: dns, required: false }\n      - anonymous: { consumer: shop }\n");
    assert_eq!(place.get(None, "").json()["headers"]["x-consumer"], "shop");
    assert_eq!(place.get(Some(&clients.issue("app.test")), "").json()["headers"]["x-consumer"], "app.test");
    assert_eq!(place.get(Some(&clients.issue("other.test")), "").status, 403);
}

fn signed(claims: &Value) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_certificate_is_good_with_it_alone() {
    let (clients, knower) = (Authority::new(), Knower::start());
    let (own, thief) = (clients.issue("app.test"), clients.issue("thief.test"));
    let cnf = json!({"x5t#S256": URL_SAFE_NO_PAD.encode(print(&own))});
    let bound = signed(&json!({"iss": "me", "aud": "api", "exp": now() + 3600, "sub": "app", "cnf": cnf}));
    let free = signed(&json!({"iss": "me", "aud": "api", "exp": now() + 3600, "sub": "app"}));
    knower.issue_with("bound", json!({"sub": "app", "cnf": cnf}));
    knower.issue_with("free", json!({"sub": "app"}));
    let jwt = format!("      - jwt: {{ issuer: me, audience: api, consumer: sub, keys: [{{ algorithm: HS256, secret: {SECRET} }}] }}\n");
    let introspection = format!(
        "      - introspection: {{ url: \"{}\", client_id: a, client_secret: b, audience: api, consumer: sub, allow_http: true }}\n",
        knower.url()
    );
    for (policies, bound, free) in [(jwt, bound.as_str(), free.as_str()), (introspection, "bound", "free")] {
        let place = Place::start(&clients, &policies);
        // Again and again: what is kept of a token is not kept of who has shown it.
        for _ in 0..2 {
            assert_eq!(place.get(Some(&own), &bearer(bound)).status, 200);
            for (identity, why) in
                [(Some(&thief), "bound to another certificate (cnf)"), (None, "bound to a certificate (cnf), and none was shown")]
            {
                let answer = place.get(identity, &bearer(bound));
                answer.problem(401, "unauthorized");
                let challenge = format!("Bearer realm=\"tidegate\", error=\"invalid_token\", error_description=\"the token is {why}\"");
                assert_eq!(answer.header("www-authenticate"), Some(challenge.as_str()));
                let (status, _, told) = place.get2(identity, &[("authorization", &format!("Bearer {bound}"))]).await;
                assert_eq!((status, told), (401, Some(challenge)));
            }
            assert_eq!(place.get2(Some(&own), &[("authorization", &format!("Bearer {bound}"))]).await.0, 200);
            assert_eq!([place.get(Some(&thief), &bearer(free)).status, place.get(None, &bearer(free)).status], [200; 2]);
        }
    }
}

#[test]
fn nobody_shows_a_certificate_where_nobody_asks_for_one() {
    let (content, said) = check("policies: [any_of: [api_key, { mtls: { consumer: dns } }]]\n");
    assert!(content && said.contains("policies[0].any_of: no listener asks clients for certificates"), "{said}");
    let (content, said) = check("policies: [mtls]\n");
    assert!(!content && said.contains("policies[0]"), "{said}");
}
