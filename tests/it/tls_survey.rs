//! What a listener agrees to, asked by OpenSSL in every way it knows: `cargo test --test it tls_survey -- --nocapture` prints the table.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::certificates::Authority;
use crate::support::gateway::Folder;
use crate::support::{Gateway, Origin};

/// What was agreed upon, or that nothing was.
fn agreed(said: &str) -> Option<String> {
    let line = said.lines().find(|line| line.starts_with("New, ") || line.starts_with("Reused, "))?;
    (!line.contains("(NONE)")).then(|| line.to_owned())
}

struct Survey {
    folder: Folder,
    port: u16,
}

impl Survey {
    /// What `openssl s_client` says of a handshake with these options; it sends `input`.
    fn ask(&self, options: &str, input: &str) -> String {
        let command = format!("openssl s_client -connect 127.0.0.1:{} -CAfile ca.pem {options} 2>&1", self.port);
        let mut child = Command::new("timeout");
        let child = child.args(["20", "sh", "-c", &command]).current_dir(self.folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = child.spawn().unwrap();
        // It may be gone already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        assert_ne!(output.status.code(), Some(124), "it hangs: {command}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn takes(&self, options: &str) -> bool {
        agreed(&self.ask(&format!("-servername a.test {options}"), "")).is_some()
    }

    /// Those of these words that it agrees to, each in the place of `{}`.
    fn taken<'a>(&self, words: impl IntoIterator<Item = &'a str>, options: &str) -> Vec<&'a str> {
        words.into_iter().filter(|word| self.takes(&options.replace("{}", word))).collect()
    }
}

fn gateway(folder: Folder, tls: &str, up: &Origin) -> Gateway {
    let certificates = "certificates: [{ cert: first.pem, key: first.key }, { cert: a.pem, key: a.key }, { cert: rsa.pem, key: rsa.key }]";
    let listener = format!("{{ address: \"127.0.0.1:0\", tls: {{ {certificates}, {tls} }} }}");
    let yaml = format!(
        "server:\n  listeners: [{listener}]\n  timeouts: {{ idle: 1s }}\nservices: {{ up: {{ targets: [\"http://{}\"] }} }}\nroutes: [{{ name: up, to: up }}]\n",
        up.address
    );
    Gateway::start_in(folder, &yaml)
}

/// A folder with an ECDSA certificate for `first.test`, and one each of ECDSA and RSA for `a.test`.
fn folder(authority: &Authority) -> Folder {
    let folder = Folder::new();
    for (name, host) in [("first", "first.test"), ("a", "a.test")] {
        let identity = authority.issue(host);
        folder.file(&format!("{name}.pem"), &identity.cert);
        folder.file(&format!("{name}.key"), &identity.key);
    }
    folder.file("ca.pem", authority.pem());
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=a.test",
            "-addext",
            "subjectAltName=DNS:a.test",
        ])
        .args(["-keyout", "rsa.key", "-out", "rsa.pem"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    folder
}

#[test]
fn what_openssl_is_granted_is_what_is_sound_today() {
    let (up, authority) = (Origin::start(), Authority::new());
    let gateway = gateway(folder(&authority), "min_version: 1.2", &up);
    let survey = Survey { folder: folder(&authority), port: gateway.address.port() };
    let weak = "-cipher DEFAULT:@SECLEVEL=0";
    let versions = survey.taken(["-tls1", "-tls1_1", "-tls1_2", "-tls1_3"], &format!("{{}} {weak}"));
    let all = Command::new("openssl").args(["ciphers", "-s", "-tls1_2", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"]).output().unwrap();
    let all = String::from_utf8(all.stdout).unwrap();
    let all: Vec<_> = all.trim().split(':').filter(|name| !name.starts_with("TLS_")).collect();
    let ciphers = survey.taken(all.iter().copied(), "-tls1_2 -cipher {}:@SECLEVEL=0");
    let suites = [
        "TLS_AES_256_GCM_SHA384",
        "TLS_AES_128_GCM_SHA256",
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_AES_128_CCM_SHA256",
        "TLS_AES_128_CCM_8_SHA256",
    ];
    let suites = survey.taken(suites, "-tls1_3 -ciphersuites {}");
    let groups = survey.taken(["X25519", "P-256", "P-384", "P-521", "X448", "ffdhe2048"], "-groups {}");
    eprintln!("protocols     {}", versions.join(" "));
    eprintln!("TLS 1.2       {} of {} suites: {}", ciphers.len(), all.len(), ciphers.join(" "));
    eprintln!("TLS 1.3       {}", suites.join(" "));
    eprintln!("groups        {}", groups.join(" "));
    assert_eq!(versions, ["-tls1_2", "-tls1_3"]);
    let mut sound: Vec<_> = ["ECDSA", "RSA"]
        .iter()
        .flat_map(|key| ["AES256-GCM-SHA384", "AES128-GCM-SHA256", "CHACHA20-POLY1305"].map(|suite| format!("ECDHE-{key}-{suite}")))
        .collect();
    let mut granted = ciphers.clone();
    sound.sort();
    granted.sort_unstable();
    assert_eq!(granted, sound);
    assert_eq!(suites.len(), 3, "{suites:?}");
    assert_eq!(groups, ["X25519", "P-256", "P-384"]);

    for version in ["-tls1_2", "-tls1_3"] {
        let request = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
        let first = survey.ask(&format!("{version} -ign_eof -servername a.test -sess_out session"), request);
        let again = survey.ask(&format!("{version} -ign_eof -servername a.test -sess_in session"), request);
        eprintln!("resumption    {version}: {} / {}", agreed(&first).unwrap(), agreed(&again).unwrap());
        assert!(first.contains("HTTP/1.1 200 OK") && again.contains("HTTP/1.1 200 OK"), "{again}");
        assert!(agreed(&first).unwrap().starts_with("New") && agreed(&again).unwrap().starts_with("Reused"), "{again}");
        assert!(first.contains("Compression: NONE") && !first.contains("Early data was accepted"));
    }
    for (name, shown) in
        [("-servername a.test", "CN = a.test"), ("-servername other.test", "CN = first.test"), ("-noservername", "CN = first.test")]
    {
        let said = survey.ask(name, "");
        eprintln!("name          {name}: {}", said.lines().find(|line| line.starts_with("subject=")).unwrap_or_default());
        assert!(said.contains(&format!("subject={shown}")), "{name}: {said}");
    }
    for (offer, choice) in [
        ("h2", "ALPN protocol: h2"),
        ("http/1.1", "ALPN protocol: http/1.1"),
        ("http/1.1,h2", "ALPN protocol: h2"),
        ("spdy", "no application protocol"),
    ] {
        let said = survey.ask(&format!("-servername a.test -alpn {offer}"), "");
        eprintln!("ALPN          {offer}: {choice}");
        assert!(said.contains(choice), "{offer}: {said}");
    }
    let said = survey.ask("-tls1_2 -servername a.test", "R\n");
    eprintln!("renegotiation {}", said.lines().find(|line| line.contains("renegotiation") && line.contains("error")).unwrap_or_default());
    assert!(said.contains("no renegotiation"), "{said}");
}

#[test]
fn the_oldest_version_is_the_configs() {
    let (up, authority) = (Origin::start(), Authority::new());
    let gateway = gateway(folder(&authority), "min_version: \"1.3\"", &up);
    let survey = Survey { folder: folder(&authority), port: gateway.address.port() };
    assert_eq!(survey.taken(["-tls1_1", "-tls1_2", "-tls1_3"], "{}"), ["-tls1_3"]);
    assert!(survey.ask("-servername a.test -tls1_2", "").contains("alert protocol version"));
}
