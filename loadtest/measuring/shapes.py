"""What is asked of whom."""

import dataclasses
import typing

from . import loads
from .programs import COMMANDS, Case, key, template


@dataclasses.dataclass(frozen=True)
class Shape:
    """Which of the cases the others are told in units of, all of them, and how they are measured."""

    base: str
    cases: dict
    load: typing.Callable = loads.wrk


def all_with(config, path, base="nginx", load=loads.wrk, **more):
    """What every program does that has such a config."""
    cases = {name: Case(name, config, path, **more) for name in COMMANDS if template(name, config)}
    return Shape(base, cases, load)


def handshakes(cert, *words):
    """Full or resumed ones, with an answer that the program has itself."""
    return all_with("tls", "/here", load=loads.handshakes, cert=cert, words=words, answer=len("here"))


PLAIN = Case("tidegate", "plain", "/plain")
SHAPES = {
    "plain": all_with("plain", "/plain"),
    "policies": all_with("policies", "/policies/42", headers=("X-API-Key: demo-key",)),
    "jwt": all_with("jwt", "/jwt", "envoy", script="jwt.lua"),
    "routes": Shape("10 routes", {f"{count} routes": Case("tidegate", "routes", f"/service-{count - 3}/orders/42", count=count) for count in (10, 10_000)}),
    "consumers": Shape(
        "10 consumers",
        {f"{count} consumers": Case("tidegate", "consumers", "/plain", (f"X-API-Key: {key(0)}",), "keys.lua", count) for count in (10, 100_000)},
    ),
    "composed": Shape("one plain request", {"one plain request": PLAIN, "composed of three": Case("tidegate", "composed", "/composed", answer=0)}),
    "post-1k": all_with("plain", "/post", script="post.lua", method="POST", body=1024),
    "post-64k": all_with("plain", "/post", script="post.lua", method="POST", body=65536),
    "large": all_with("plain", "/large", answer=2**20),
    "tls": all_with("tls", "/plain", cert="ecdsa"),
    "h2": all_with("tls", "/plain", load=loads.h2load, cert="ecdsa"),
    "handshakes": handshakes("ecdsa", "-tls1_3", "-new"),
    "resumed": handshakes("ecdsa", "-tls1_3", "-reuse"),
    "handshakes-rsa": handshakes("rsa", "-tls1_3", "-new"),
    "handshakes-1.2": handshakes("ecdsa", "-tls1_2", "-new"),
    "resumed-1.2": handshakes("ecdsa", "-tls1_2", "-reuse"),
    "handshakes-rsa-1.2": handshakes("rsa", "-tls1_2", "-new"),
    "rate": all_with("plain", "/plain", load=loads.rate),
    "idle": all_with("plain", "/plain", load=loads.idle, idle=True),
    "idle-tls": all_with("tls", "/plain", load=loads.idle, cert="ecdsa", idle=True),
}
