#!/usr/bin/env python3
"""Callers of every kind, who ask again and again and tell what failed: for upgrades under load.

    callers.py origin PORT                    a service to ask: /here, /events (SSE, for some seconds), /echo (WebSocket)
    callers.py load PLAIN TLS CA HOST [KINDS] asks 127.0.0.1:PLAIN, and :TLS as HOST, until its standard input ends, and prints a table

Kinds: kept, single, h2c, h2, tls, sse, websocket; all unless named. `again` counts what HTTP/2 (RFC 9113 section 8.7) and WebSocket (close code 1012)
tell the client to repeat elsewhere because it was not processed. What else goes wrong is a failure. The exit status says whether there was one.
"""

import base64
import hashlib
import http.server
import json
import os
import socket
import ssl
import struct
import sys
import threading
import time

EVENTS = int(os.environ.get("EVENTS", "40"))  # in a stream, ten a second


# -- the service


class Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path == "/events":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for number in range(EVENTS):
                self.chunk(f"data: {number}\n\n")
                time.sleep(0.1)
            self.chunk("data: end\n\n")
            self.wfile.write(b"0\r\n\r\n")
        elif self.path == "/echo":
            digest = hashlib.sha1((self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.send_header("Sec-WebSocket-Accept", base64.b64encode(digest).decode())
            self.end_headers()
            self.close_connection = True
            while True:
                opcode, data = read_frame(self.rfile)
                self.wfile.write(frame(opcode, data, mask=False))
                if opcode == 8:
                    return
        else:
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"here")

    def chunk(self, text):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text.encode()))
        self.wfile.flush()


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True

    def handle_error(self, *_):
        pass


# -- WebSocket frames (RFC 6455 section 5.2), as far as they are needed here


def frame(opcode, data, mask=True):
    head = bytes([0x80 | opcode, (0x80 if mask else 0) | len(data)])
    if not mask:
        return head + data
    key = os.urandom(4)
    return head + key + bytes(byte ^ key[at % 4] for at, byte in enumerate(data))


def read_frame(file):
    head = exactly(file, 2)
    length = head[1] & 0x7F
    assert length < 126
    key = exactly(file, 4) if head[1] & 0x80 else bytes(4)
    data = exactly(file, length)
    return head[0] & 0x0F, bytes(byte ^ key[at % 4] for at, byte in enumerate(data))


def exactly(file, count):
    data = file.read(count)
    if len(data) < count:
        raise EOFError("the connection was closed")
    return data


# -- the callers


class Caller:
    """One kind: counts, and asks until it shall stop."""

    def __init__(self, load):
        self.load = load
        self.count = self.again = self.resumed = 0
        self.failures = []

    def run(self):
        while not self.load.stop.is_set():
            try:
                self.ask()
                self.count += 1
            except Exception as error:  # whatever it is, it is a request that failed
                self.failures.append(f"{time.strftime('%X')} {type(error).__name__}: {error}")
                self.reset()
        self.reset()

    def reset(self):
        pass

    def connect(self, port=None):
        connection = socket.create_connection(("127.0.0.1", port or self.load.plain), timeout=20)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def get(self, connection, path, more=""):
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {self.load.host}\r\n{more}\r\n".encode())


def read_head(file):
    line = file.readline()
    if not line:
        raise EOFError("closed before the answer")
    status = int(line.split()[1])
    headers = {}
    while (line := file.readline().strip()) != b"":
        name, value = line.decode().split(":", 1)
        headers[name.lower()] = value.strip()
    return status, headers


class Keeping(Caller):
    """Keeps a connection from one request to the next."""

    connection = file = None

    def reset(self):
        if self.connection:
            self.connection.close()
        self.connection = self.file = None

    def open(self):
        self.connection = self.connect()
        self.file = self.connection.makefile("rb")


class Kept(Keeping):
    """Keeps its connection while it may."""

    def ask(self):
        if self.connection is None:
            self.open()
        self.get(self.connection, "/here")
        status, headers = read_head(self.file)
        body = exactly(self.file, int(headers["content-length"]))
        assert (status, body) == (200, b"here"), (status, body)
        if headers.get("connection") == "close":
            self.reset()


class Single(Caller):
    """A connection for each request."""

    def ask(self):
        with self.connect() as connection:
            self.once(connection)

    def once(self, connection):
        self.get(connection, "/here", "Connection: close\r\n")
        file = connection.makefile("rb")
        status, _ = read_head(file)
        body = file.read()
        assert (status, body) == (200, b"here"), (status, body)


class Tls(Single):
    """A connection for each request, over TLS, with the session of the one before."""

    session = None

    def ask(self):
        context = self.load.context(["http/1.1"])
        with context.wrap_socket(self.connect(self.load.tls), server_hostname=self.load.host, session=self.session) as connection:
            self.once(connection)
            self.resumed += connection.session_reused
            self.session = connection.session


class Sse(Caller):
    """A stream of events, to its end."""

    def ask(self):
        with self.connect() as connection:
            self.get(connection, "/events", "Connection: close\r\n")
            file = connection.makefile("rb")
            status, headers = read_head(file)
            assert status == 200 and headers["transfer-encoding"] == "chunked", (status, headers)
            events = b""
            while size := int(file.readline(), 16):
                events += exactly(file, size)
                exactly(file, 2)
            expected = "".join(f"data: {number}\n\n" for number in [*range(EVENTS), "end"])
            assert events == expected.encode(), f"events are missing: {events[-40:]}"


class WebSocket(Keeping):
    """One message after the other on a connection that is kept until the gateway says that it goes."""

    def ask(self):
        if self.connection is None:
            self.open()
            key = base64.b64encode(os.urandom(16)).decode()
            self.get(
                self.connection,
                "/echo",
                f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n",
            )
            status, _ = read_head(self.file)
            assert status == 101, status
        message = os.urandom(8).hex().encode()
        self.connection.sendall(frame(1, message))
        opcode, data = read_frame(self.file)
        if opcode == 8 and struct.unpack("!H", data[:2])[0] == 1012:
            self.connection.sendall(frame(8, data[:2]))
            assert self.file.read(1) == b"", "something came after the end"
            self.again += 1
            self.reset()
            return
        assert (opcode, data) == (1, message), (opcode, data)
        time.sleep(0.01)


class H2c(Keeping):
    """Requests on one HTTP/2 connection, until the gateway says that it goes."""

    def open(self):
        self.connection = self.connect()

    def ask(self):
        import h2.connection
        import h2.config

        if self.connection is None:
            self.open()
            self.state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
            self.state.initiate_connection()
            self.goes, self.buffer = None, b""
        stream = self.state.get_next_available_stream_id()
        head = [(":method", "GET"), (":path", "/here"), (":scheme", self.scheme), (":authority", self.load.host)]
        self.state.send_headers(stream, head, end_stream=True)
        self.connection.sendall(self.state.data_to_send())
        status, body = None, b""
        while True:
            piece = self.connection.recv(65536)
            if not piece:
                raise EOFError("closed before the answer")
            events = self.events(piece)
            for event in events:
                name = type(event).__name__
                if name == "ResponseReceived":
                    status = dict(event.headers)[b":status"]
                elif name == "DataReceived":
                    body += event.data
                    self.state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif name == "StreamReset":
                    if event.error_code == 7:  # REFUSED_STREAM
                        self.again += 1
                        self.reset()
                        return
                    raise EOFError(f"the stream was reset: {event.error_code}")
                elif name == "StreamEnded":
                    assert (status, body) == (b"200", b"here"), (status, body)
                    self.send()
                    if self.goes is not None:
                        self.reset()
                    return
            if self.goes is not None and self.goes < stream:
                self.again += 1
                self.reset()
                return
            self.send()

    def events(self, piece):
        # GOAWAY is looked for by hand: the library takes it for the end of everything, and what is under way goes on.
        out = []
        self.buffer += piece
        while len(self.buffer) >= 9:
            length = int.from_bytes(self.buffer[:3], "big")
            if len(self.buffer) < 9 + length:
                break
            one, self.buffer = self.buffer[: 9 + length], self.buffer[9 + length :]
            if one[3] == 7:
                self.goes = int.from_bytes(one[9:13], "big") & 0x7FFFFFFF
                code = int.from_bytes(one[13:17], "big")
                assert code == 0, f"GOAWAY {code}"
            else:
                out += self.state.receive_data(one)
        return out

    def send(self):
        data = self.state.data_to_send()
        if data:
            try:
                self.connection.sendall(data)
            except OSError:
                # An acknowledgement for one who has gone already.
                self.goes = self.goes or 0

    scheme = "http"


class H2(H2c):
    """The same over TLS."""

    scheme = "https"

    def open(self):
        context = self.load.context(["h2"])
        self.connection = context.wrap_socket(self.connect(self.load.tls), server_hostname=self.load.host)
        assert self.connection.selected_alpn_protocol() == "h2"


KINDS = {"kept": Kept, "single": Single, "h2c": H2c, "h2": H2, "tls": Tls, "sse": Sse, "websocket": WebSocket}


class Load:
    def __init__(self, plain, tls, ca, host):
        self.plain, self.tls, self.ca, self.host = int(plain), int(tls), ca, host
        self.stop = threading.Event()
        self.contexts = {}

    def context(self, protocols):
        key = tuple(protocols)
        if key not in self.contexts:
            context = ssl.create_default_context(cafile=self.ca)
            context.set_alpn_protocols(protocols)
            self.contexts[key] = context
        return self.contexts[key]


def load(plain, tls, ca, host, *kinds):
    load = Load(plain, tls, ca, host)
    callers = {kind: KINDS[kind](load) for kind in kinds or KINDS}
    threads = [threading.Thread(target=caller.run) for caller in callers.values()]
    for thread in threads:
        thread.start()
    print("begun", flush=True)
    # A line asks how far each has come; the end of the input is the end.
    for _ in sys.stdin:
        print(json.dumps({kind: caller.count for kind, caller in callers.items()}), flush=True)
    load.stop.set()
    for thread in threads:
        thread.join()
    for kind, caller in callers.items():
        resumed = f", {caller.resumed} sessions resumed" if caller.resumed else ""
        print(f"{kind:10} {caller.count:7} requests, {len(caller.failures)} failed, {caller.again} again{resumed}")
        for failure in caller.failures[:5]:
            print(f"    {failure}")
    sys.exit(any(caller.failures for caller in callers.values()))


if __name__ == "__main__":
    if sys.argv[1:2] == ["origin"]:
        server = Server(("127.0.0.1", int(sys.argv[2])), Origin)
        print(server.server_address[1], flush=True)
        server.serve_forever()
    elif sys.argv[1:2] == ["load"] and len(sys.argv) >= 6:
        load(*sys.argv[2:])
    else:
        sys.exit(__doc__)
