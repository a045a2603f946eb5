"""The ways to put load on a gateway; each gives what it has shown, by column."""

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import select
import shlex
import subprocess
import time

from .programs import CORES, HERE, PORT, ask, connection


@dataclasses.dataclass(frozen=True)
class Column:
    title: str
    form: str
    # Whether the base's share follows.
    ratio: bool = False
    # Whether the rounds add up, in the place of their median.
    total: bool = False


CPU = Column("CPU µs/request", ".1f", ratio=True)
RATE = Column("requests/s", ",.0f")
P50, P99 = Column("p50 ms", ".2f"), Column("p99 ms", ".2f")
START = Column("start s", ".2f")
MEMORY = Column("RSS MiB", ".1f")
ERRORS = Column("errors", ".0f", total=True)


def client(gateway, *command, **more):
    """What a program on the clients' core prints."""
    case = gateway.case
    environment = {"OPENSSL_CONF": f"{gateway.folder}/clients.cnf", "TOKENS": f"{gateway.folder}/tokens", "KEYS": str(case.count), "BODY": str(case.body)}
    done = subprocess.run(["taskset", "-c", str(CORES[1]), *command], env={**os.environ, **environment}, capture_output=True, text=True, **more)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} fails at {case.program}:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")
    return done.stdout


def milliseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * {"us": 1e-3, "ms": 1, "s": 1e3, "m": 60e3}[unit]


def wrk(gateway, options):
    """As many requests as come through, each connection's next one after its answer."""
    case = gateway.case
    more = ["-s", str(HERE / "wrk" / case.script)] if case.script else [word for header in gateway.headers for word in ("-H", header)]
    command = ["wrk", "-t1", f"-c{options.connections}", "--latency", *more, gateway.url]
    client(gateway, *command, "-d1s")
    before = gateway.cpu()
    text = client(gateway, *command, f"-d{options.seconds}s")
    used = gateway.cpu() - before
    requests = int(re.search(r"(\d+) requests in", text)[1])
    if not requests:
        raise SystemExit(f"{case.program} has answered nothing in time:\n{text}")
    latency = dict(re.findall(r"^\s+(\d+)%\s+(\S+)\s*$", text, re.M))
    return {
        CPU: used / requests,
        RATE: float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]),
        P50: milliseconds(latency["50"]),
        P99: milliseconds(latency["99"]),
        START: gateway.start,
        MEMORY: gateway.memory(),
        ERRORS: sum(map(int, re.findall(r"(?:connect|read|write|timeout|responses:) (\d+)", text))),
    }


def counted(text):
    """What h2load says was answered well, and what was not."""
    # Those that were on their way at the end are no errors.
    wrong = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", text).groups() + tuple(re.findall(r"(\d+) [345]xx", text))
    return int(re.search(r"status codes: (\d+) 2xx", text)[1]), sum(map(int, wrong))


def steady(gateway, rate, seconds, connections):
    """Good answers and errors of requests that come at a constant rate over HTTP/1.1, of which each connection bears its share."""
    headers = [word for header in gateway.headers for word in ("-H", header)]
    command = ["h2load", "--h1", "-t1", f"-c{connections}", f"--rps={rate / connections:.3f}", f"-D{seconds}", *headers, gateway.url]
    return counted(client(gateway, *command))


def h2load(gateway, options):
    """The same over HTTP/2: as many requests at once, four on each connection."""
    log = pathlib.Path(gateway.folder, "h2load.log")
    command = ["h2load", "-t1", f"-c{max(options.connections // 4, 1)}", "-m4", "--tls13-ciphers=TLS_AES_128_GCM_SHA256", "--groups=X25519"]
    client(gateway, *command, "-D1", gateway.url)
    log.unlink(missing_ok=True)
    before = gateway.cpu()
    text = client(gateway, *command, f"-D{options.seconds}", f"--log-file={log}", gateway.url)
    used = gateway.cpu() - before
    if "Application protocol: h2" not in text or "TLSv1.3" not in text:
        raise SystemExit(f"{gateway.case.program} does not speak HTTP/2 over TLS 1.3:\n{text}")
    good, errors = counted(text)
    if not good:
        raise SystemExit(f"{gateway.case.program} has answered nothing in time:\n{text}")
    took = sorted(int(line.split("\t")[2]) / 1000 for line in log.read_text().splitlines())
    return {
        CPU: used / good,
        RATE: good / options.seconds,
        P50: took[len(took) // 2],
        P99: took[len(took) * 99 // 100],
        START: gateway.start,
        MEMORY: gateway.memory(),
        ERRORS: errors,
    }


HANDSHAKE = Column("CPU µs/handshake", ".0f")
PER_SECOND = Column("handshakes per CPU second", ",.0f", ratio=True)


def handshakes(gateway, options):
    """Connections with one request each, one after the other."""
    case = gateway.case
    # The client speaks HTTP/1.0, and does not look at what comes.
    old = connection(case)
    old._http_vsn, old._http_vsn_str = 10, "HTTP/1.0"
    if (answer := ask(case, through=old)) != (200, case.answer):
        raise SystemExit(f"{case.program} answers {case.path} in HTTP/1.0 with {answer}")
    before = gateway.cpu()
    text = client(gateway, "openssl", "s_time", "-connect", f"localhost:{PORT}", "-www", case.path, "-time", str(options.seconds), *case.words)
    count = int(re.search(r"(\d+) connections in \d+ real seconds", text)[1])
    each = (gateway.cpu() - before) / count
    # A mark for each: `r` where it went on with an earlier session.
    marks = max(re.findall(r"^[rt3*]+$", text, re.M), key=len, default="")
    resumed = marks.count("r") / max(len(marks), 1)
    if not marks or abs(resumed - ("-reuse" in case.words)) > 0.02:
        raise SystemExit(f"{case.program} has resumed {resumed:.0%} of {len(marks)} sessions with {' '.join(case.words)}")
    return {HANDSHAKE: each, PER_SECOND: 1e6 / each, START: gateway.start, MEMORY: gateway.memory()}


# Of a latency that is not the queue's, the base's share tells something.
RATE_P50, RATE_P90, RATE_P99 = Column("p50 ms", ".3f", ratio=True), Column("p90 ms", ".3f"), Column("p99 ms", ".3f", ratio=True)
RATE_CPU, LATE = Column("CPU µs/request", ".1f"), Column("sent late", ".0f", total=True)


def vegeta(gateway, rate, seconds, connections):
    """What vegeta says of requests that come at a constant rate, whether or not those before them are answered."""
    headers = " ".join(shlex.quote(word) for header in gateway.headers for word in ("-header", header))
    attack = f"vegeta attack -rate={rate}/s -duration={seconds}s -connections={connections} -max-connections={connections} {headers}"
    said = json.loads(client(gateway, "bash", "-o", "pipefail", "-c", f"echo 'GET {gateway.url}' | {attack} | vegeta report -type=json"))
    good = said["status_codes"].get("200", 0)
    # What it had not sent by the end makes the load another one, whoever is to blame.
    late = max(round((rate * 0.999 - said["rate"]) * seconds), 0)
    return {"requests": good, "errors": said["requests"] - good, "rate": said["rate"], "late": late, "latencies": said["latencies"]}


def rate(gateway, options):
    """As many requests a second as are said, which all programs can bear: what one takes without a queue before it."""
    vegeta(gateway, options.rate, 1, options.connections)
    before = gateway.cpu()
    said = vegeta(gateway, options.rate, options.seconds, options.connections)
    used = gateway.cpu() - before
    p50, p90, p99 = (said["latencies"][part] / 1e6 for part in ("50th", "90th", "99th"))
    return {
        RATE_P50: p50,
        RATE_P90: p90,
        RATE_P99: p99,
        RATE_CPU: used / max(said["requests"], 1),
        RATE: said["rate"],
        MEMORY: gateway.memory(),
        LATE: said["late"],
        ERRORS: said["errors"],
    }


EACH = Column("KiB/connection", ".2f", ratio=True)
BARE, SERVED = Column("RSS MiB at start", ".1f", ratio=True), Column("after 100 connections", ".1f")
HELD, COUNT = Column("with idle ones", ".1f"), Column("idle ones", ".0f")


def idle(gateway, options):
    """Connections that were served once and are kept."""

    def served(kept):
        if (answer := ask(gateway.case, through=kept)) != (200, gateway.case.answer):
            raise SystemExit(f"{gateway.case.program} answers {gateway.case.path} with {answer}")
        return kept

    def many(connections):
        with concurrent.futures.ThreadPoolExecutor(32) as threads:
            return list(threads.map(served, connections))

    # What is made once, for whichever connection comes first.
    for kept in many(connection(gateway.case) for _ in range(100)):
        kept.close()
    time.sleep(0.5)
    before = gateway.memory()
    held = many(connection(gateway.case) for _ in range(options.idle))
    time.sleep(0.5)
    after = gateway.memory()
    ended = select.poll()
    for kept in held:
        ended.register(kept.sock, select.POLLIN)
    # Those that were closed would make the others seem to need less.
    if closed := ended.poll(0):
        raise SystemExit(f"{gateway.case.program} has closed {len(closed)} idle connections")
    for kept in held:
        kept.close()
    return {EACH: (after - before) * 1024 / options.idle, BARE: gateway.bare, SERVED: before, HELD: after, COUNT: options.idle}


# What each load is put on with, where that is not a part of Python.
CLIENTS = {wrk: "wrk", h2load: "h2load", rate: "vegeta", handshakes: "openssl"}
