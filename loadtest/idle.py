#!/usr/bin/env python3
"""What a connection costs in memory that was served once and is kept: `loadtest/idle.py target/release/tidegate [connections]`, 10000 unless said.

The gateway, and nginx where it is found, answer by themselves, first without TLS and then with TLS 1.3, one after the other; what their processes hold
(VmRSS of proc_pid_status(5)) is read before and while all connections are open. What the system holds for each socket is not in it.
"""

import os
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time

CERTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../conf/examples/tls/localhost")
PORT = 18090

TIDEGATE = """
server:
  workers: 1
  limits: {{ connections_per_client: 100000 }}
  timeouts: {{ idle: 10m }}
  listeners:
    - {{ address: "127.0.0.1:{plain}" }}
    - {{ address: "127.0.0.1:{tls}", tls: {{ certificates: [{{ cert: {certs}.pem, key: {certs}.key }}] }} }}
  upgrade: {{ socket: {folder}/upgrade.sock }}
admin: {{ address: "127.0.0.1:0" }}
access_log: {{ to: "off" }}
services: {{ here: {{ mock: {{ text: here }} }} }}
routes: [{{ name: here, to: here }}]
"""

NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log; worker_rlimit_nofile 100000;
events {{ worker_connections 100000; }}
http {{
    access_log off; keepalive_timeout 600s;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    ssl_certificate {certs}.pem; ssl_certificate_key {certs}.key; ssl_protocols TLSv1.3;
    server {{ listen 127.0.0.1:{plain}; listen 127.0.0.1:{tls} ssl; location / {{ return 200 here; }} }}
}}
"""


def memory(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def ask(connection):
    connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = b""
    while b"\r\n\r\n" not in answer or not answer.endswith(b"here"):
        piece = connection.recv(4096)
        if not piece:
            raise SystemExit(f"not answered: {answer}")
        answer += piece
    if not answer.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"not answered well: {answer}")


def connect(port, context):
    for attempt in range(100):
        try:
            connection = socket.create_connection(("127.0.0.1", port))
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    return context.wrap_socket(connection, server_hostname="localhost") if context else connection


def measure(process, port, context, count):
    # What is made once, for whichever connection comes first.
    for _ in range(100):
        with connect(port, context) as connection:
            ask(connection)
    time.sleep(0.5)
    before = memory(process.pid)
    held = []
    for _ in range(count):
        held.append(connect(port, context))
        ask(held[-1])
    time.sleep(0.5)
    after = memory(process.pid)
    for connection in (held[0], held[-1]):
        ask(connection)
    for connection in held:
        connection.close()
    return before, after


def main():
    binary = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    context = ssl.create_default_context(cafile=None)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    servers = [("Tidegate", TIDEGATE, [binary, "run", "-c"])]
    nginx = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if nginx:
        servers.append(("nginx", NGINX, [nginx, "-c"]))
    print(f"| {count} idle connections | before | with them | each |\n|---|---|---|---|")
    for kind, tls in (("plain", None), ("TLS 1.3", context)):
        for name, config, command in servers:
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "config.yaml")
                with open(path, "w") as file:
                    file.write(config.format(plain=PORT, tls=PORT + 1, certs=os.path.abspath(CERTS), folder=folder))
                said = open(os.path.join(folder, "said"), "w")
                process = subprocess.Popen([*command, path], stdout=said, stderr=said)
                try:
                    before, after = measure(process, PORT + 1 if tls else PORT, tls, count)
                finally:
                    process.kill()
                    process.wait()
            print(f"| {name}, {kind} | {before / 1024:.1f} MiB | {after / 1024:.1f} MiB | {(after - before) / count:.2f} KiB |", flush=True)


main()
