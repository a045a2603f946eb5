"""The gateways, the service behind them, and what they are set up with."""

import base64
import contextlib
import dataclasses
import hashlib
import http.client
import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import time

from . import machine

HERE = pathlib.Path(__file__).resolve().parent.parent
PORT, SERVICE = 18080, 18081
# The gateway's, and that of clients and service.
CORES = sorted(os.sched_getaffinity(0))[:2]
if len(CORES) < 2:
    raise SystemExit("two cores are needed: one for the gateway, one for clients and service")
os.environ["PATH"] += ":/usr/sbin"

TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
TLS.check_hostname, TLS.verify_mode, TLS.minimum_version = False, ssl.CERT_NONE, ssl.TLSVersion.TLSv1_3

COMMANDS = {
    "tidegate": "{binary} run -c {config}",
    "pingora": "pingora {config} 127.0.0.1:{port} 127.0.0.1:{service}",
    "nginx": "nginx -p {folder} -c {config}",
    "haproxy": "haproxy -f {config}",
    "envoy": "envoy -c {config} --concurrency 1 --log-level error --disable-hot-restart",
    "caddy": "caddy run --adapter caddyfile --config {config}",
    "traefik": "traefik --configFile={config}",
    "krakend": "krakend run -c {config}",
    "tyk": "tyk --conf {config}",
}
# The same with another setting.
COMMANDS["envoy-cached"] = COMMANDS["envoy"]
VERSIONS = {"tidegate": "--version", "nginx": "-v", "haproxy": "-v", "envoy": "--version", "caddy": "build-info", "traefik": "version", "krakend": "version", "tyk": "version"}

SERVICE_CONFIG = """
daemon off; master_process off; pid {folder}/service.pid; error_log {folder}/service.log;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 1000000000; default_type application/json; open_file_cache max=10; root {folder};
    client_body_temp_path {folder}/sb; proxy_temp_path {folder}/sp; fastcgi_temp_path {folder}/sf; uwsgi_temp_path {folder}/su; scgi_temp_path {folder}/ss;
    upstream again {{ server 127.0.0.1:{service}; keepalive 128; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{service};
        location / {{ return 200 '{body}'; }}
        location = /large {{ }}
        # By itself nginx would answer before a body has come; the whole of it comes before this asks on.
        location = /post {{
            client_body_buffer_size 128k; proxy_pass_request_body off; proxy_set_header Content-Length "";
            proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://again/;
        }}
    }}
}}
"""

# What clients offer: the same for all, or each program would encrypt in another way. Only clients get to see this.
CLIENT_TLS = """
openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = clients
[clients]
MinProtocol = TLSv1.2
Ciphersuites = TLS_AES_128_GCM_SHA256
CipherString = ECDHE+AESGCM+AES128
Groups = X25519:P-256
"""


@dataclasses.dataclass(frozen=True)
class Case:
    """A program with its config, and what it is asked."""

    program: str
    config: str
    path: str
    # What a request is let through for: without it, and with another one, it has to be refused, so that nobody is fast by not looking.
    headers: tuple = ()
    script: str = ""
    # How many routes or consumers there are, where the config leaves them to be written.
    count: int = 0
    method: str = "GET"
    # Bytes of the request's body.
    body: int = 0
    # Bytes of the answer, so that nobody is fast by giving another one; 0 where it is made of several.
    answer: int = 1024
    # The certificate's kind, where the client speaks TLS.
    cert: str = ""
    # More words for the client's command.
    words: tuple = ()
    # Whether it has to hold as many idle connections as there can be.
    idle: bool = False


@dataclasses.dataclass
class Gateway:
    """A program that runs and has answered as it should."""

    case: Case
    folder: str
    pids: list
    # Seconds until the first answer.
    start: float
    headers: tuple
    # MiB before the first request, where that is waited for.
    bare: float

    @property
    def url(self):
        return f"https://localhost:{PORT}{self.case.path}" if self.case.cert else f"http://127.0.0.1:{PORT}{self.case.path}"

    def cpu(self):
        return machine.cpu(self.pids)

    def memory(self):
        return machine.memory(self.pids)


def key(number):
    """The API key of a consumer, as `wrk/keys.lua` has it."""
    return f"loadtest-{number:08}"


def there(names):
    """Which of these programs can be run here."""
    return [name for name in names if name == "tidegate" or shutil.which(COMMANDS[name].split()[0])]


def version(name, binary):
    """A program's name with what it says of its version."""
    if name == "pingora":
        return "pingora as ours has it"
    command = COMMANDS[name].split()[0].format(binary=binary)
    said = subprocess.run([command, *VERSIONS[name.partition("-")[0]].split()], capture_output=True, text=True)
    # Not that of Go, which some tell first.
    found = re.search(r"(?<![\d.o])[0-9]+[.][0-9]+[.][0-9]+", said.stdout + said.stderr)
    return f"{name} {found[0] if found else 'of a version that it does not tell'}"


def openssl(*words, text=None):
    return subprocess.run(["openssl", *words], input=text, capture_output=True, check=True).stdout


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def tokens(folder, count):
    """A key, what its issuer publishes of it, and tokens that are signed with it (RS256)."""
    key = f"{folder}/issuer.pem"
    openssl("genrsa", "-out", key, "2048")
    openssl("rsa", "-in", key, "-pubout", "-out", f"{folder}/issuer.pub")
    modulus = bytes.fromhex(openssl("rsa", "-in", key, "-noout", "-modulus").decode().strip().partition("=")[2])
    jwk = {"kty": "RSA", "kid": "k", "alg": "RS256", "use": "sig", "n": base64url(modulus), "e": "AQAB"}
    pathlib.Path(folder, "jwks.json").write_text(json.dumps({"keys": [jwk]}))
    head = base64url(json.dumps({"alg": "RS256", "typ": "JWT", "kid": "k"}).encode())
    with open(f"{folder}/tokens", "w") as file:
        for number in range(count):
            claims = {"iss": "https://id.example.com", "aud": "api", "sub": f"user-{number}", "scope": "read write", "iat": int(time.time()) - 60}
            message = f"{head}.{base64url(json.dumps(claims | {'exp': int(time.time()) + 86400}).encode())}"
            file.write(f"{message}.{base64url(openssl('dgst', '-sha256', '-sign', key, text=message.encode()))}\n")


def certificates(folder):
    """Of each kind one that has signed itself."""
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{folder}/ecdsa.key")
    openssl("genrsa", "-out", f"{folder}/rsa.key", "2048")
    for kind in ("ecdsa", "rsa"):
        key, cert = f"{folder}/{kind}.key", f"{folder}/{kind}.pem"
        openssl("req", "-x509", "-new", "-key", key, "-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-out", cert)
        # HAProxy takes both as one file.
        pathlib.Path(folder, f"{kind}.both").write_text(pathlib.Path(cert).read_text() + pathlib.Path(key).read_text())
    pathlib.Path(folder, "clients.cnf").write_text(CLIENT_TLS)


def connection(case):
    """One to a gateway, which opens with its first request."""
    if not case.cert:
        return http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
    return http.client.HTTPSConnection("localhost", PORT, timeout=5, context=TLS)


def ask(case, headers=(), through=None):
    """Status and length of an answer; None where nobody answers."""
    kept = through or connection(case)
    try:
        kept.request(case.method, case.path, b"x" * case.body or None, dict(header.split(": ", 1) for header in headers))
        answer = kept.getresponse()
        return answer.status, len(answer.read())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        if not through:
            kept.close()


def spoilt(header):
    """A credential that nobody may take. The last two characters of one in base64 may mean nothing."""
    return header[:-3] + ("x" if header[-3] != "x" else "y") + header[-2:]


def listens(port=PORT):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def free(port):
    """Ends everything where a stranger would be measured, or asked, in the place of what is started here."""
    if listens(port):
        raise SystemExit(f"another program listens at port {port}")


@contextlib.contextmanager
def running(command, core, said):
    with open(said, "w") as output:
        process = subprocess.Popen(["taskset", "-c", str(core), *command], stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            # What it counts until its end would be lost, and nobody would know.
            raise SystemExit(f"{command[0]} does not end") from None


def service(folder):
    """What all gateways forward to, on the clients' core."""
    free(SERVICE)
    config = pathlib.Path(folder, "service.conf")
    body = '{"fill":"' + "x" * (1024 - len('{"fill":""}')) + '"}'
    config.write_text(SERVICE_CONFIG.format(folder=folder, service=SERVICE, body=body))
    pathlib.Path(folder, "large").write_bytes(b"x" * 2**20)
    return running(["nginx", "-p", folder, "-c", str(config)], CORES[1], f"{folder}/service.said")


def template(program, config):
    """The file with a program's settings; those beside it, which it names, are in a folder."""
    return next((path for path in (HERE / "rivals" / program).glob(f"{config}.*") if path.is_file()), None)


def lacks(case):
    """What a program has no part for, as its settings say."""
    found = re.match(r"# Lacks (.*?)[:.]", template(case.program, case.config).read_text())
    return found and found[1]


def write(case, options, folder):
    """The config of a case."""
    main = template(case.program, case.config)
    routes = (f'  - {{ name: "{n}", match: {{ path: "/service-{n}/orders/{{id}}" }}, to: service }}' for n in range(case.count))
    hashes = (hashlib.sha256(key(n).encode()).hexdigest() for n in range(case.count))
    consumers = (f'  - {{ name: consumer-{n}, groups: [gold], api_keys: ["sha256:{hash}"] }}' for n, hash in enumerate(hashes))
    filled = {"folder": folder, "port": PORT, "service": SERVICE, "cached": 2 * options.tokens, "cert": case.cert}
    # nginx closes idle ones where less than a sixteenth is left.
    filled |= {"routes": "\n".join(routes), "consumers": "\n".join(consumers), "connections": options.idle * 9 // 8 + 500 if case.idle else 4096}
    for path in (main, *main.with_suffix(".d").glob("*")):
        to = pathlib.Path(folder, f"{case.program}-{path.relative_to(main.parent)}")
        to.parent.mkdir(exist_ok=True)
        to.write_text(re.sub(r"@(\w+)@", lambda place: str(filled[place[1]]), path.read_text()))
    return pathlib.Path(folder, f"{case.program}-{main.name}")


@contextlib.contextmanager
def started(case, options, folder):
    """A gateway on the first core, once it has answered as it should."""
    said = pathlib.Path(folder, f"{case.program}.said")
    command = COMMANDS[case.program].format(
        binary=options.binary, config=write(case, options, folder), folder=folder, port=PORT, service=SERVICE
    ).split()
    headers = case.headers
    if case.script == "jwt.lua":
        headers = ("Authorization: Bearer " + pathlib.Path(folder, "tokens").read_text().partition("\n")[0],)
    free(PORT)
    began, bare = time.monotonic(), 0
    with running(command, CORES[0], said) as process:
        if case.idle:
            while process.poll() is None and not listens():
                time.sleep(0.002)
            # Until those that it starts are there, and what it does at its start is done.
            time.sleep(1)
            bare = machine.memory(machine.family(process.pid))
        while (answer := ask(case, headers)) is None or answer[0] != 200:
            if process.poll() is not None or time.monotonic() - began > 20:
                raise SystemExit(f"{case.program} does not answer {case.path} with 200 but {answer}:\n{said.read_text()[-2000:]}")
            time.sleep(0.002)
        start = time.monotonic() - began
        if case.answer and answer[1] != case.answer:
            raise SystemExit(f"{case.program} answers {case.path} with {answer[1]} bytes, not {case.answer}")
        for bad in ((), tuple(map(spoilt, headers))) if headers else ():
            if (refusal := ask(case, bad) or (None,))[0] not in (401, 403):
                raise SystemExit(f"{case.program} does not refuse {case.path} with {bad or 'no headers'}: {refusal}")
        yield Gateway(case, folder, machine.family(process.pid), start, headers, bare)
