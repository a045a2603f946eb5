"""What is asked of whom."""

import dataclasses
import typing

from . import loads
from .programs import COMMANDS, HERE, Case, key


@dataclasses.dataclass(frozen=True)
class Shape:
    """Which of the cases the others are told in units of, all of them, and how they are measured."""

    base: str
    cases: dict
    load: typing.Callable = loads.wrk


def all_with(config, path, base="nginx", load=loads.wrk, **more):
    """What every program does that has such a config."""
    cases = {name: Case(name, config, path, **more) for name in COMMANDS if any((HERE / "rivals" / name).glob(f"{config}.*"))}
    return Shape(base, cases, load)


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
}
