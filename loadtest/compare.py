#!/usr/bin/env python3
"""Measures gateways side by side: `loadtest/compare.py target/dist/tidegate`; `--help` lists the options.

Every program gets the same requests for the same service, with one core for it alone, in turns: in each round each is started anew, and every second round
goes through them backwards. What counts is CPU time per request, which the kernel keeps for all threads of a program: it bears other work on the machine
better than a rate does. The other core is for wrk and the service. How each program is set up stands in `rivals/PROGRAM/SHAPE.*`; who has no file for a
shape, or is not installed, is left out of it.
"""

import argparse
import base64
import contextlib
import dataclasses
import datetime
import hashlib
import json
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PORT, SERVICE = 18080, 18081
os.environ["PATH"] += ":/usr/sbin"

COMMANDS = {
    "tidegate": "{binary} run -c {config}",
    "nginx": "nginx -p {folder} -c {config}",
    "haproxy": "haproxy -f {config}",
    "envoy": "envoy -c {config} --concurrency 1 --log-level error --disable-hot-restart",
}
# The same with another setting.
COMMANDS["envoy-cached"] = COMMANDS["envoy"]

SERVICE_CONFIG = """
daemon off; master_process off; pid {folder}/service.pid; error_log {folder}/service.log;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 1000000000; default_type application/json;
    client_body_temp_path {folder}/sb; proxy_temp_path {folder}/sp; fastcgi_temp_path {folder}/sf; uwsgi_temp_path {folder}/su; scgi_temp_path {folder}/ss;
    server {{ listen 127.0.0.1:{service}; location / {{ return 200 '{body}'; }} }}
}}
"""


@dataclasses.dataclass
class Case:
    """A program with its config, and what it is asked."""

    program: str
    config: str
    path: str
    # What a request is let through for: without it one has to be refused, so that nobody is fast by not looking.
    headers: tuple = ()
    script: str = ""
    # How many routes or consumers there are, where the config leaves them to be written.
    count: int = 0


def all_with(config, path, **more):
    """What every program does that has such a config, in units of nginx."""
    return "nginx", {name: Case(name, config, path, **more) for name in COMMANDS if any((HERE / "rivals" / name).glob(f"{config}.*"))}


def key(number):
    """The API key of a consumer, as `wrk/keys.lua` has it."""
    return f"loadtest-{number:08}"


PLAIN = Case("tidegate", "plain", "/plain")
# By shape: which of its cases the others are told in units of, and all of them.
SHAPES = {
    "plain": all_with("plain", PLAIN.path),
    "policies": all_with("policies", "/policies/42", headers=("X-API-Key: demo-key",)),
    "jwt": ("envoy", all_with("jwt", "/jwt", script="jwt.lua")[1]),
    "routes": ("10 routes", {f"{count} routes": Case("tidegate", "routes", f"/service-{count - 3}/orders/42", count=count) for count in (10, 10_000)}),
    "consumers": (
        "10 consumers",
        {f"{count} consumers": Case("tidegate", "consumers", "/plain", (f"X-API-Key: {key(0)}",), "keys.lua", count) for count in (10, 100_000)},
    ),
    "composed": ("one plain request", {"one plain request": PLAIN, "composed of three": Case("tidegate", "composed", "/composed")}),
}
TOKENS = 1000


@dataclasses.dataclass
class Run:
    """What one run of wrk has shown of one program."""

    rate: float
    cpu: float
    p50: float
    p99: float
    # Until the first answer.
    start: float
    memory: float
    errors: int


def openssl(*words, text=None):
    return subprocess.run(["openssl", *words], input=text, capture_output=True, check=True).stdout


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def tokens(folder):
    """A key, what its issuer publishes of it, and tokens that are signed with it (RS256)."""
    key = f"{folder}/issuer.pem"
    openssl("genrsa", "-out", key, "2048")
    modulus = bytes.fromhex(openssl("rsa", "-in", key, "-noout", "-modulus").decode().strip().partition("=")[2])
    jwk = {"kty": "RSA", "kid": "k", "alg": "RS256", "use": "sig", "n": base64url(modulus), "e": "AQAB"}
    pathlib.Path(folder, "jwks.json").write_text(json.dumps({"keys": [jwk]}))
    head = base64url(json.dumps({"alg": "RS256", "typ": "JWT", "kid": "k"}).encode())
    with open(f"{folder}/tokens", "w") as file:
        for number in range(TOKENS):
            claims = {"iss": "https://id.example.com", "aud": "api", "sub": f"user-{number}", "scope": "read write", "iat": int(time.time()) - 60}
            message = f"{head}.{base64url(json.dumps(claims | {'exp': int(time.time()) + 86400}).encode())}"
            file.write(f"{message}.{base64url(openssl('dgst', '-sha256', '-sign', key, text=message.encode()))}\n")


def ask(path, headers=()):
    """The status of an answer; None where nobody answers."""
    head = "".join(f"{header}\r\n" for header in headers)
    try:
        with socket.create_connection(("127.0.0.1", PORT), timeout=5) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{head}Connection: close\r\n\r\n".encode())
            line = connection.makefile("rb").readline().split()
            return int(line[1]) if len(line) > 1 else None
    except OSError:
        return None


def family(pid):
    """A process and all that it has started."""
    children = {}
    for entry in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = entry.read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += children.get(one, [])
    return found


def cpu(pids):
    """Microseconds that all threads of these have had of a core."""
    tasks = (task for pid in pids for task in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1000


def memory(pids):
    """MiB of memory, each page that several have counted once."""
    pages = (pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids)
    return sum(int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1]) for text in pages) / 1024


def seconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[unit]


@contextlib.contextmanager
def running(command, core, said):
    with open(said, "w") as output:
        process = subprocess.Popen(["taskset", "-c", str(core), *command], stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def write(case, folder):
    """The config of a case."""
    template = next((HERE / "rivals" / case.program).glob(f"{case.config}.*"))
    routes = (f'  - {{ name: "{n}", match: {{ path: "/service-{n}/orders/{{id}}" }}, to: service }}' for n in range(case.count))
    hashes = (hashlib.sha256(key(n).encode()).hexdigest() for n in range(case.count))
    consumers = (f'  - {{ name: consumer-{n}, groups: [gold], api_keys: ["sha256:{hash}"] }}' for n, hash in enumerate(hashes))
    filled = {"folder": folder, "port": PORT, "service": SERVICE, "routes": "\n".join(routes), "consumers": "\n".join(consumers)}
    config = pathlib.Path(folder, f"{case.program}-{template.name}")
    config.write_text(re.sub(r"@(\w+)@", lambda place: str(filled[place[1]]), template.read_text()))
    return config


def measure(case, options, folder):
    """Starts a program, sees that it does its work, and lets wrk ask it."""
    said = pathlib.Path(folder, f"{case.program}.said")
    command = COMMANDS[case.program].format(binary=options.binary, config=write(case, folder), folder=folder).split()
    headers = case.headers
    if case.script == "jwt.lua":
        headers = ("Authorization: Bearer " + pathlib.Path(folder, "tokens").read_text().partition("\n")[0],)
    began = time.monotonic()
    with running(command, 0, said) as process:
        while ask(case.path, headers) != 200:
            if process.poll() is not None or time.monotonic() - began > 20:
                raise SystemExit(f"{case.program} does not answer {case.path} with 200:\n{said.read_text()[-2000:]}")
            time.sleep(0.002)
        start = time.monotonic() - began
        if headers and ask(case.path) not in (401, 403):
            raise SystemExit(f"{case.program} does not refuse {case.path} without its headers: {ask(case.path)}")
        more = ["-s", str(HERE / "wrk" / case.script)] if case.script else [word for header in headers for word in ("-H", header)]
        wrk = ["taskset", "-c", "1", "wrk", "-t1", f"-c{options.connections}", "--latency", *more, f"http://127.0.0.1:{PORT}{case.path}"]
        environment = {**os.environ, "TOKENS": f"{folder}/tokens", "KEYS": str(case.count)}
        subprocess.run([*wrk, "-d1s"], env=environment, capture_output=True, check=True)
        pids = family(process.pid)
        before = cpu(pids)
        text = subprocess.run([*wrk, f"-d{options.seconds}s"], env=environment, capture_output=True, text=True, check=True).stdout
        used, held = cpu(pids) - before, memory(pids)
    requests = int(re.search(r"(\d+) requests in", text)[1])
    wrong = re.findall(r"(?:connect|read|write|timeout|responses:) (\d+)", text)
    latency = {percent: seconds(value) for percent, value in re.findall(r"^\s+(\d+)%\s+(\S+)$", text, re.M)}
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])
    return Run(rate, used / requests, latency["50"], latency["99"], start, held, sum(map(int, wrong)))


def table(shape, base, runs):
    """Medians; of the ratios to the base the median of those within each round."""
    print(f"\n### {shape}\n\n| | CPU µs/request | to {base} | requests/s | p50 ms | p99 ms | start s | MiB | errors |\n|---|---|---|---|---|---|---|---|---|")

    def middle(name, of):
        return statistics.median(of(run) for run in runs[name])

    for name in sorted(runs, key=lambda name: middle(name, lambda run: run.cpu)):
        ratios = [ours.cpu / theirs.cpu for ours, theirs in zip(runs[name], runs.get(base, ()))]
        print(
            f"| {name} | {middle(name, lambda run: run.cpu):.1f} | {f'{statistics.median(ratios):.2f}' if ratios else '–'} "
            f"| {middle(name, lambda run: run.rate):,.0f} | {middle(name, lambda run: run.p50) * 1e3:.2f} "
            f"| {middle(name, lambda run: run.p99) * 1e3:.2f} | {middle(name, lambda run: run.start):.2f} | {middle(name, lambda run: run.memory):.1f} | {sum(run.errors for run in runs[name])} |",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", help="the path of a built tidegate")
    parser.add_argument("--shapes", default=",".join(SHAPES), help="which, with commas between them (%(default)s)")
    parser.add_argument("--programs", default=",".join(COMMANDS), help="likewise (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="%(default)s")
    parser.add_argument("--seconds", type=int, default=5, help="of each run (%(default)s)")
    parser.add_argument("--connections", type=int, default=64, help="kept alive (%(default)s)")
    options = parser.parse_args()
    for chosen, known in ((options.shapes, SHAPES), (options.programs, COMMANDS)):
        for name in chosen.split(","):
            if name not in known:
                parser.error(f"there is no `{name}`; there are {', '.join(known)}")
    for command in ("wrk", "nginx", "taskset", options.binary):
        if not shutil.which(command):
            parser.error(f"`{command}` cannot be run: `make loadtest` builds and installs what is needed")
    there = [name for name in options.programs.split(",") if name == "tidegate" or shutil.which(COMMANDS[name].split()[0])]
    print(f"{', '.join(there)}; {options.rounds} rounds of {options.seconds} s, {options.connections} connections, one core each,")
    print(f"{os.uname().release}, {datetime.datetime.now(datetime.UTC):%F %H:%MZ}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        if "jwt" in options.shapes:
            tokens(folder)
        service = pathlib.Path(folder, "service.conf")
        body = '{"fill":"' + "x" * (1024 - len('{"fill":""}')) + '"}'
        service.write_text(SERVICE_CONFIG.format(folder=folder, service=SERVICE, body=body))
        with running(["nginx", "-p", folder, "-c", str(service)], 1, f"{folder}/service.said"):
            for shape in options.shapes.split(","):
                base, cases = SHAPES[shape]
                able = [name for name, case in cases.items() if case.program in there]
                runs = {name: [] for name in able}
                for turn in range(options.rounds):
                    for name in able if turn % 2 == 0 else reversed(able):
                        runs[name].append(measure(cases[name], options, folder))
                table(shape, base, runs)


main()
