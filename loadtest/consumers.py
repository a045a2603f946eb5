#!/usr/bin/env python3
"""What many consumers cost: `loadtest/consumers.py target/release/tidegate [rounds] [consumers]`, 15 rounds of two seconds and 100000 consumers unless said.

Two gateways, one with ten consumers and one with many, forward requests with API keys in turns, each request by another consumer; what is told is CPU time
per request, as the kernel counts it for all threads, and the median of the ratios of the rounds. Then how long a start takes until a request is answered,
and what memory the process holds (VmRSS of proc_pid_status(5)). The gateways have core 0, wrk and the service core 1.
"""

import glob
import hashlib
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SERVICE, FEW, MANY = 18081, 18082, 18083
os.environ["PATH"] += ":/usr/sbin"

TIDEGATE = """
server: {{ workers: 1, listeners: [{{ address: "127.0.0.1:{port}" }}], upgrade: {{ socket: {folder}/{port}.sock }} }}
admin: {{ address: "127.0.0.1:0" }}
access_log: {{ to: /dev/null }} # lines are made and written, as in production
services: {{ nginx: {{ targets: ["http://127.0.0.1:{service}"] }} }}
routes: [{{ name: all, policies: [api_key], to: nginx }}]
consumers:
"""

NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 1000000000;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{service}; location / {{ return 200 here; }} }}
}}
"""


def key(number):
    return f"loadtest-{number:08}"


def write(folder, port, count):
    """The config of a gateway with so many consumers."""
    path = os.path.join(folder, f"{port}.yaml")
    with open(path, "w") as file:
        file.write(TIDEGATE.format(port=port, folder=folder, service=SERVICE))
        for number in range(count):
            hashed = hashlib.sha256(key(number).encode()).hexdigest()
            file.write(f'  - {{ name: consumer-{number}, groups: [gold], api_keys: ["sha256:{hashed}"] }}\n')
    return path


def start(binary, config, port):
    """A gateway that answers, and the seconds that took."""
    began = time.monotonic()
    process = subprocess.Popen(["taskset", "-c", "0", binary, "run", "-c", config], stderr=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                if not connection.recv(64).startswith(b"HTTP/1.1 401 "):
                    raise SystemExit("a request without a key is not refused")
                return process, time.monotonic() - began
        except ConnectionRefusedError:
            time.sleep(0.002)
    raise SystemExit(f"the gateway does not start: {binary} check -c {config}")


def cpu(pid):
    """Microseconds of all threads."""
    return sum(int(open(path).read().split()[0]) for path in glob.glob(f"/proc/{pid}/task/*/schedstat")) / 1000


def memory(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) / 1024


def measure(process, port, count):
    """CPU time of a request."""
    before = cpu(process.pid)
    command = ["taskset", "-c", "1", "wrk", "-t1", "-c64", "-d2s", "-s", f"{HERE}/wrk/keys.lua", f"http://127.0.0.1:{port}/"]
    said = subprocess.run(command, env={**os.environ, "KEYS": str(count)}, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"not every request was answered well:\n{said}")
    return (cpu(process.pid) - before) / int(re.search(r"(\d+) requests in", said)[1])


def main():
    binary = sys.argv[1]
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 15
    many = int(sys.argv[3]) if len(sys.argv) > 3 else 100_000
    processes = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            with open(f"{folder}/nginx.conf", "w") as file:
                file.write(NGINX.format(folder=folder, service=SERVICE))
            nginx = ["taskset", "-c", "1", "nginx", "-p", folder, "-c", f"{folder}/nginx.conf"]
            processes.append(subprocess.Popen(nginx, stderr=subprocess.DEVNULL))
            gateways = []
            for port, count in ((FEW, 10), (MANY, many)):
                process, took = start(binary, write(folder, port, count), port)
                processes.append(process)
                gateways.append((process, port, count))
                print(f"{count} consumers: answers after {took:.2f} s, {memory(process.pid):.0f} MiB", flush=True)
            costs = []
            for turn in range(rounds):
                order = gateways if turn % 2 == 0 else gateways[::-1]
                cost = {count: measure(process, port, count) for process, port, count in order}
                costs.append((cost[10], cost[many]))
            of_few, of_many = (statistics.median(column) for column in zip(*costs))
            ratio = statistics.median(of_many / of_few for of_few, of_many in costs)
            print(f"a request: {of_few:.1f} µs of CPU among 10, {of_many:.1f} among {many}; median of {rounds} ratios {ratio:.3f}")
        finally:
            for process in processes:
                process.terminate()
                process.wait()


main()
