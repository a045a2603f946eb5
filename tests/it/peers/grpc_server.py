"""A gRPC server with reflection. It prints where it listens, and then what happens that its callers do not see.

Usage: grpc_server.py [CERT KEY]
"""

import os
import sys
import threading
import time
from concurrent import futures

import grpc
from grpc_reflection.v1alpha import reflection

import tide
from tide import Say

# Far more than the tests send, where the default is 4 MiB.
LARGE = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]


def tell(*words):
    # In one piece: threads tell at the same time, and each shall have a line.
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def end_of(context, what):
    """Tells of the end of the call, whoever ends it, and gives what waits for it. To be asked for first: a stream that has ended is not gone on with."""
    gone = threading.Event()

    def end():
        tell("gone", what)
        gone.set()

    if not context.add_callback(end):
        end()
    return gone


def echo(request, context):
    sent = dict(context.invocation_metadata())
    context.send_initial_metadata([("x-seen", ",".join(sorted(key for key in sent if key.startswith("x-"))))])
    trailing = [("x-ascii-back", sent.get("x-ascii", "")), ("x-data-back-bin", sent.get("x-data-bin", b""))]
    remaining = context.time_remaining()
    if remaining is not None:
        trailing.append(("x-remaining", f"{remaining:.3f}"))
    trailing.append(("x-encoding", sent.get("grpc-encoding", "none")))
    context.set_trailing_metadata(trailing)
    if request.fail:
        context.abort(next(code for code in grpc.StatusCode if code.value[0] == request.fail), request.text)
    return Say(text=request.text, count=len(request.data), data=request.data)


def gather(requests, _):
    count = total = 0
    for request in requests:
        count += 1
        total += len(request.data)
    return Say(text=str(total), count=count)


def count(request, _):
    for number in range(request.count):
        yield Say(count=number, data=request.data)


def chat(requests, _):
    for number, request in enumerate(requests):
        yield Say(text=request.text, count=number)


def watch(request, context):
    gone = None if request.fail else end_of(context, "Watch")
    yield Say(text="watching")
    if request.fail:
        time.sleep(request.count / 1000)
        context.abort(next(code for code in grpc.StatusCode if code.value[0] == request.fail), "no more")
    gone.wait()


def wait(_, context):
    tell("begun", "Wait")
    end_of(context, "Wait").wait()
    return Say()


attempts = 0


def refuse(requests, context):
    """Turns the first calls away before it has read anything."""
    global attempts
    attempts += 1
    tell("refused", attempts)
    context.abort(grpc.StatusCode.UNAVAILABLE, "not now")


def main():
    handlers = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo, Say.FromString, Say.SerializeToString),
        "Gather": grpc.stream_unary_rpc_method_handler(gather, Say.FromString, Say.SerializeToString),
        "Count": grpc.unary_stream_rpc_method_handler(count, Say.FromString, Say.SerializeToString),
        "Chat": grpc.stream_stream_rpc_method_handler(chat, Say.FromString, Say.SerializeToString),
        "Watch": grpc.unary_stream_rpc_method_handler(watch, Say.FromString, Say.SerializeToString),
        "Wait": grpc.unary_unary_rpc_method_handler(wait, Say.FromString, Say.SerializeToString),
        "Refuse": grpc.stream_unary_rpc_method_handler(refuse, Say.FromString, Say.SerializeToString),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=64), options=LARGE)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(tide.NAME, handlers),))
    reflection.enable_server_reflection((tide.NAME, reflection.SERVICE_NAME), server)
    if len(sys.argv) > 2:
        cert, key = (open(path, "rb").read() for path in sys.argv[1:3])
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, cert)]))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    tell("listening", port)
    # The end of the test closes it.
    sys.stdin.read()
    server.stop(None)


main()
