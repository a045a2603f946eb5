"""The ways to put load on a gateway; each gives what it has shown, by column."""

import dataclasses
import os
import re
import subprocess

from .programs import HERE


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


def client(*command, **environment):
    """What a program on the clients' core prints."""
    environment = {**os.environ, **environment}
    return subprocess.run(["taskset", "-c", "1", *command], env=environment, capture_output=True, text=True, check=True).stdout


def milliseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * {"us": 1e-3, "ms": 1, "s": 1e3, "m": 60e3}[unit]


def wrk(gateway, options):
    """As many requests as come through, each connection's next one after its answer."""
    case = gateway.case
    more = ["-s", str(HERE / "wrk" / case.script)] if case.script else [word for header in gateway.headers for word in ("-H", header)]
    command = ["wrk", "-t1", f"-c{options.connections}", "--latency", *more, gateway.url]
    environment = {"TOKENS": f"{gateway.folder}/tokens", "KEYS": str(case.count)}
    client(*command, "-d1s", **environment)
    before = gateway.cpu()
    text = client(*command, f"-d{options.seconds}s", **environment)
    used = gateway.cpu() - before
    requests = int(re.search(r"(\d+) requests in", text)[1])
    latency = dict(re.findall(r"^\s+(\d+)%\s+(\S+)$", text, re.M))
    return {
        CPU: used / requests,
        RATE: float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]),
        P50: milliseconds(latency["50"]),
        P99: milliseconds(latency["99"]),
        START: gateway.start,
        MEMORY: gateway.memory(),
        ERRORS: sum(map(int, re.findall(r"(?:connect|read|write|timeout|responses:) (\d+)", text))),
    }
