#!/usr/bin/env python3
"""Half an hour under load: `loadtest/soak.py target/dist/tidegate`; `--help` lists the options.

The gateway runs with the policies of `rivals/tidegate/policies.yaml`. The highest rate is found first, with wrk; then h2load asks at 70 % of it, constantly,
over HTTP/1.1 (vegeta would want more than a core for that). Told are the memory (RSS) after each minute, the CPU time of a request, and errors. The exit
status is 1 where memory has grown by more than 5 % since the first minute, an error has come, or less than 98 % of what was meant has been answered.
"""

import argparse
import concurrent.futures
import os
import pathlib
import resource
import sys
import tempfile
import time

from measuring import loads, machine, programs
from measuring.shapes import SHAPES


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", help="the path of a built tidegate")
    parser.add_argument("--minutes", type=int, default=30, help="%(default)s")
    parser.add_argument("--share", type=float, default=0.7, help="of the highest rate (%(default)s)")
    parser.add_argument("--connections", type=int, default=64, help="kept alive (%(default)s)")
    options = parser.parse_args()
    if options.minutes < 2:
        parser.error("what is held against the memory of the first minute needs a second one")
    options.seconds, options.tokens, options.idle = 10, 0, 0
    os.sched_setaffinity(0, {programs.CORES[1]})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print("\n".join(f"- {line}" for line in machine.described()), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        programs.certificates(folder)
        # Lines are made and written, but half an hour of them is more than a disk should hold.
        pathlib.Path(folder, "access.log").symlink_to("/dev/null")
        case = SHAPES["policies"].cases["tidegate"]
        with programs.service(folder), programs.started(case, options, folder) as gateway:
            highest = loads.wrk(gateway, options)[loads.RATE]
            rate = int(highest * options.share)
            print(f"- {rate:,} requests a second, {options.share:.0%} of {highest:,.0f}, for {options.minutes} minutes", flush=True)
            return soak(gateway, rate, options)


def soak(gateway, rate, options):
    used, began = gateway.cpu(), time.monotonic()
    memory = []
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        load = threads.submit(loads.steady, gateway, rate, options.minutes * 60, options.connections)
        print("\n| minute | RSS MiB |\n|---|---|", flush=True)
        for minute in range(1, options.minutes + 1):
            # The last is read just before the end, while there still is load.
            concurrent.futures.wait([load], max(began + minute * 60 - (minute == options.minutes) - time.monotonic(), 0))
            memory.append(gateway.memory())
            print(f"| {minute} | {memory[-1]:.1f} |", flush=True)
        good, errors = load.result()
    each, of = (gateway.cpu() - used) / max(good, 1), good / (rate * options.minutes * 60)
    grown = memory[-1] / memory[0] - 1
    print("\n| good answers | of those meant | CPU µs/request | RSS grown by | errors |\n|---|---|---|---|---|")
    print(f"| {good:,} | {of:.1%} | {each:.1f} | {grown:+.1%} | {errors} |")
    # A load that was another one has shown nothing.
    return 1 if grown > 0.05 or errors or of < 0.98 else 0


sys.exit(main())
