#!/usr/bin/env python3
"""Measures gateways side by side: `loadtest/compare.py target/dist/tidegate`; `--help` lists the options.

Every program gets the same requests for the same service, with one core for it alone, in turns: in each round each is started anew, and every second round
goes through them backwards. What counts is CPU time per request, which the kernel keeps for all threads of a program: it bears other work on the machine
better than a rate does. The other core is for the clients and the service. How each program is set up stands in `rivals/PROGRAM/SHAPE.*`; who has no file
for a shape, or is not installed, is left out of it, and the results say so. These are tables in `results/`, with a drawing beside them.
"""

import argparse
import datetime
import os
import pathlib
import resource
import shlex
import shutil
import sys
import tempfile

from measuring import loads, machine, programs, report
from measuring.shapes import SHAPES


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", help="the path of a built tidegate")
    parser.add_argument("--shapes", default=",".join(SHAPES), help="which, with commas between them (%(default)s)")
    parser.add_argument("--programs", default=",".join(programs.COMMANDS), help="likewise (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="%(default)s")
    parser.add_argument("--seconds", type=int, default=5, help="of each run (%(default)s)")
    parser.add_argument("--connections", type=int, default=64, help="kept alive (%(default)s)")
    parser.add_argument("--tokens", type=int, default=1000, help="different ones, of the shape jwt (%(default)s)")
    parser.add_argument("--rate", type=int, default=3000, help="requests a second, of the shape rate (%(default)s)")
    parser.add_argument("--results", default=programs.HERE / "results", help="the folder where tables are kept (%(default)s)")
    parser.add_argument("--idle", type=int, default=10_000, help="connections, of the shapes idle; less where a process may not open two files for each (%(default)s)")
    options = parser.parse_args()
    options.shapes, options.programs = options.shapes.split(","), options.programs.split(",")
    for chosen, known in ((options.shapes, SHAPES), (options.programs, programs.COMMANDS)):
        for name in chosen:
            if name not in known:
                parser.error(f"there is no `{name}`; there are {', '.join(known)}")
    clients = {client for name in options.shapes if (client := loads.CLIENTS.get(SHAPES[name].load))}
    for command in (*sorted(clients), "nginx", "openssl", "taskset", options.binary):
        if not shutil.which(command):
            parser.error(f"`{command}` cannot be run: `make loadtest` builds and installs what is needed")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # Two for each that HAProxy may have, and those are more than will be idle.
    options.idle = min(options.idle, most * 4 // 9 - 1000)
    if options.idle < 1000 and any(case.idle for name in options.shapes for case in SHAPES[name].cases.values()):
        parser.error(f"too few files may be open at once for idle connections: {most}, and 4,500 are the least")
    return options


def main():
    options = arguments()
    # What connects and asks here shares the clients' core.
    os.sched_setaffinity(0, {programs.CORES[1]})
    there = programs.there(options.programs)
    base = pathlib.Path(options.results, f"compare-{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}")
    base.parent.mkdir(parents=True, exist_ok=True)
    results = {}

    def say(*lines):
        for line in lines:
            print(line, flush=True)
        with open(f"{base}.md", "a") as file:
            file.writelines(f"{line}\n" for line in lines)

    say(*(f"- {line}" for line in machine.described()), f"- command: `{shlex.join(sys.argv)}`")
    say(f"- programs: {', '.join(programs.version(name, options.binary) for name in there)}")
    if missing := [name for name in options.programs if name not in there]:
        say(f"- not installed: {', '.join(missing)}")
    say(f"- {options.rounds} rounds of {options.seconds} s, {options.connections} connections, one core for each program")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        programs.certificates(folder)
        if "jwt" in options.shapes:
            programs.tokens(folder, options.tokens)
        with programs.service(folder):
            for name in options.shapes:
                shape = SHAPES[name]
                able = [row for row, case in shape.cases.items() if case.program in there]
                runs = {row: [] for row in able}
                for turn in range(options.rounds):
                    for row in able if turn % 2 == 0 else reversed(able):
                        with programs.started(shape.cases[row], options, folder) as gateway:
                            runs[row].append(shape.load(gateway, options))
                if not able:
                    continue
                results[name] = runs
                say(*report.table(name, shape.base, runs))
                notes = [f"{row} lacks {lack}" for row in able if (lack := programs.lacks(shape.cases[row]))]
                if absent := [row for row in there if row not in shape.cases and len(shape.cases) > 2]:
                    notes.append(f"without settings for this: {', '.join(absent)}")
                if notes:
                    say("", "; ".join(notes))
                with open(f"{base}.svg", "w") as file:
                    file.write(report.plot(results))
    print(f"\n{base}.md, {base}.svg")


main()
