"""What the kernel knows of processes, and what machine this is."""

import contextlib
import datetime
import os
import pathlib
import re
import subprocess
import time


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
    """Microseconds of a core that these have had, with those of their threads that have ended."""
    # The clock of another process, as clock_getcpuclockid(3) makes it.
    return sum(time.clock_gettime_ns((~pid << 3) | 2) for pid in pids) / 1000


def memory(pids):
    """MiB of RSS; what several of these processes share counts once, as that of the one that has most of it."""
    shared, private = [], 0
    for pid in pids:
        sizes = dict(re.findall(r"^(\w+):\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M))
        shared.append(int(sizes["Shared_Clean"]) + int(sizes["Shared_Dirty"]))
        private += int(sizes["Private_Clean"]) + int(sizes["Private_Dirty"])
    return (private + max(shared)) / 1024


def described():
    """Cores, memory, kernel, time and commit, a line each, as a table can be compared with a later one only where these are known."""
    model = re.search(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    total = int(re.search(r"^MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text(), re.M)[1]) / 1024**2
    git = ["git", "-C", str(pathlib.Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    return [
        f"machine: {os.cpu_count()} cores, {model[1] if model else os.uname().machine}, {total:.0f} GiB",
        f"kernel: {os.uname().sysname} {os.uname().release}",
        f"date: {datetime.datetime.now(datetime.UTC):%F %H:%MZ}",
        f"commit that is checked out: {commit or 'unknown'}",
    ]
