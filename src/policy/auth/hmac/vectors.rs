//! The messages, keys and signatures of RFC 9421, appendix B.

use pingora_http::RequestHeader;
use ring::digest::{SHA512, digest};
use serde_json::{Value, json};

use super::Signed;
use super::message::{self, Choice};
use crate::consumer::Consumers;
use crate::consumer::testing::{ED25519, P256, RSA as RSA_PSS};
use crate::ctx::{Ctx, testing};
use crate::types::SignedBody;

const SECRET: &str = "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";
const DIGEST: &str = "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:";

/// Appendix B.2: the request that is signed.
fn request(more: &[(&str, &str)]) -> RequestHeader {
    let mut req = RequestHeader::build("POST", b"/foo?param=Value&Pet=dog", None).unwrap();
    let fields = [
        ("Host", "example.com"),
        ("Date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("Content-Type", "application/json"),
        ("Content-Digest", DIGEST),
        ("Content-Length", "18"),
    ];
    for (name, value) in fields.iter().chain(more) {
        req.append_header((*name).to_owned(), *value).unwrap();
    }
    req
}

fn cx() -> Ctx {
    Ctx { host: "example.com".into(), ..testing::ctx("/foo", &[]) }
}

fn key(key: Value) -> Consumers {
    Consumers::build(&serde_json::from_value::<Vec<_>>(json!([{"name": "app", "signing_keys": [key]}])).unwrap()).unwrap()
}

/// The signature of the request, if it has this input and this value.
fn read(input: &str, signature: &str) -> Signed {
    message::read(&request(&[("Signature-Input", input), ("Signature", signature)]), &cx(), &Choice::default()).unwrap().unwrap()
}

fn is_by(consumers: &Consumers, signed: &Signed) -> bool {
    consumers.signing.find(&signed.key).unwrap().verifies(signed.algorithm, &signed.base, &signed.signature)
}

#[test]
fn the_signatures_of_the_requests_of_appendix_b_are_right() {
    let rsa = || json!({"id": "test-key-rsa-pss", "public_key": RSA_PSS});
    let cases = [
        (
            rsa(),
            r#"sig-b21=();created=1618884473;keyid="test-key-rsa-pss";nonce="b3k2pp5k7z-50gnwp.yemd""#,
            "sig-b21=:d2pmTvmbncD3xQm8E9ZV2828BjQWGgiwAaw5bAkgibUopemLJcWDy/lkbbHAve4cRAtx31Iq786U7it++wgGxbtRxf8Udx7zFZsckzXaJMkA7ChG\
             52eSkFxykJeNqsrWH5S+oxNFlD4dzVuwe8DhTSja8xxbR/Z2cOGdCbzR72rgFWhzx2VjBqJzsPLMIQKhO4DGezXehhWwE56YCE+O6c0mKZsfxVrogUvA4HEL\
             jVKWmAvtl6UnCh8jYzuVG5WSb/QEVPnP5TmcAnLH1g+s++v6d4s8m0gCw1fV5/SITLq9mhho8K3+7EPYTU8IU1bLhdxO5Nyt8C8ssinQ98Xw9Q==:",
        ),
        (
            rsa(),
            r#"sig-b22=("@authority" "content-digest" "@query-param";name="Pet");created=1618884473;keyid="test-key-rsa-pss";tag="header-example""#,
            "sig-b22=:LjbtqUbfmvjj5C5kr1Ugj4PmLYvx9wVjZvD9GsTT4F7GrcQEdJzgI9qHxICagShLRiLMlAJjtq6N4CDfKtjvuJyE5qH7KT8UCMkSowOB4+ECxCmT\
             8rtAmj/0PIXxi0A0nxKyB09RNrCQibbUjsLS/2YyFYXEu4TRJQzRw1rLEuEfY17SARYhpTlaqwZVtR8NV7+4UKkjqpcAoFqWFQh62s7Cl+H2fjBSpqfZUJcs\
             Ik4N6wiKYd4je2U/lankenQ99PZfB4jY3I5rSV2DSBVkSFsURIjYErOs0tFTQosMTAoxk//0RoKUqiYY8Bh0aaUEb0rQl3/XaVe4bXTugEjHSw==:",
        ),
        (
            rsa(),
            r#"sig-b23=("date" "@method" "@path" "@query" "@authority" "content-type" "content-digest" "content-length");created=1618884473;keyid="test-key-rsa-pss""#,
            "sig-b23=:bbN8oArOxYoyylQQUU6QYwrTuaxLwjAC9fbY2F6SVWvh0yBiMIRGOnMYwZ/5MR6fb0Kh1rIRASVxFkeGt683+qRpRRU5p2voTp768ZrCUb38K0fU\
             xN0O0iC59DzYx8DFll5GmydPxSmme9v6ULbMFkl+V5B1TP/yPViV7KsLNmvKiLJH1pFkh/aYA2HXXZzNBXmIkoQoLd7YfW91kE9o/CCoC1xMy7JA1ipwvKvf\
             rs65ldmlu9bpG6A9BmzhuzF8Eim5f8ui9eH8LZH896+QIF61ka39VBrohr9iyMUJpvRX2Zbhl5ZJzSRxpJyoEZAFL2FUo5fTIztsDZKEgM4cUA==:",
        ),
        (
            json!({"id": "test-shared-secret", "secret_base64": SECRET}),
            r#"sig-b25=("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret""#,
            "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:",
        ),
        (
            json!({"id": "test-key-ed25519", "public_key": ED25519}),
            r#"sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519""#,
            "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:",
        ),
    ];
    for (config, input, signature) in cases {
        let (consumers, mut signed) = (key(config), read(input, signature));
        assert_eq!(signed.times.signed, 1_618_884_473);
        assert!(is_by(&consumers, &signed), "{input}");
        signed.base.push(b' ');
        assert!(!is_by(&consumers, &signed), "{input}");
    }
}

#[test]
fn the_base_is_the_one_of_appendix_b() {
    let input = r#"sig-b22=("@authority" "content-digest" "@query-param";name="Pet");created=1618884473;keyid="test-key-rsa-pss";tag="header-example""#;
    let expected = format!(
        "\"@authority\": example.com\n\"content-digest\": {DIGEST}\n\"@query-param\";name=\"Pet\": dog\n\"@signature-params\": {}",
        input.split_once('=').unwrap().1
    );
    let signed = read(input, "sig-b22=:AA==:");
    assert_eq!(String::from_utf8(signed.base).unwrap(), expected);
    let digest = |body: &[u8]| SignedBody::Sha512(digest(&SHA512, body).as_ref().into());
    assert!(signed.body[0] == digest(br#"{"hello": "world"}"#) && signed.body[0] != digest(b"{}"));
    assert_eq!(signed.covered, ["@authority", "content-digest"]);
}

#[test]
fn the_signature_of_p256_of_appendix_b_is_right() {
    // Appendix B.2.4 signs a response: only its text counts here.
    let base = "\"@status\": 200\n\"content-type\": application/json\n\"content-digest\": \
                sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4l5aGgfLQ==:\n\
                \"content-length\": 23\n\"@signature-params\": (\"@status\" \"content-type\" \"content-digest\" \
                \"content-length\");created=1618884473;keyid=\"test-key-ecc-p256\"";
    let signature =
        read(r#"s=();created=1;keyid="k""#, "s=:wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw==:");
    let consumers = key(json!({"id": "k", "public_key": P256}));
    let verifies = |base: &str| consumers.signing.find("k").unwrap().verifies(None, base.as_bytes(), &signature.signature);
    assert!(verifies(base) && !verifies(&base.replace("200", "201")));
}
