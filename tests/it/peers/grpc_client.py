"""A gRPC client: each function is one scene, named on the command line. It fails by an exception.

Usage: grpc_client.py ADDRESS [--ca FILE --host NAME] SCENE...
"""

import argparse
import inspect
import os
import queue
import sys
import threading
import time

import grpc

import tide
from tide import Say

LARGE = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]
# Only a failing test waits so long.
PATIENCE = 20


def tell(*words):
    # In one piece: threads tell at the same time, and each shall have a line.
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


class Stub:
    def __init__(self, channel):
        path = lambda name: f"/{tide.NAME}/{name}"
        both = (Say.SerializeToString, Say.FromString)
        self.echo = channel.unary_unary(path("Echo"), *both)
        self.gather = channel.stream_unary(path("Gather"), *both)
        self.count = channel.unary_stream(path("Count"), *both)
        self.chat = channel.stream_stream(path("Chat"), *both)
        self.watch = channel.unary_stream(path("Watch"), *both)
        self.wait = channel.unary_unary(path("Wait"), *both)
        self.refuse = channel.stream_unary(path("Refuse"), *both)


class Pipe:
    """What a streaming call sends, one by one as the scene goes on."""

    def __init__(self):
        self.queue = queue.Queue()

    def say(self, **fields):
        self.queue.put(Say(**fields))

    def end(self):
        self.queue.put(None)

    def __iter__(self):
        return iter(self.queue.get, None)


def status(call, *args, **kwargs):
    """The error that a call ends with."""
    try:
        answer = call(*args, **kwargs)
        answer if isinstance(answer, Say) else list(answer)
    except grpc.RpcError as error:
        return error
    raise AssertionError("it went well")


def unary(stub):
    answer, call = stub.echo.with_call(
        Say(text="größer", data=b"\0\1\2"), metadata=[("x-ascii", "a b"), ("x-data-bin", bytes(range(256)))], timeout=PATIENCE
    )
    assert (answer.text, answer.count) == ("größer", 3), answer
    assert "x-ascii,x-data-bin" in dict(call.initial_metadata())["x-seen"], call.initial_metadata()
    back = dict(call.trailing_metadata())
    assert back["x-ascii-back"] == "a b" and back["x-data-back-bin"] == bytes(range(256)), back
    # The client rounds up.
    assert 0 < float(back["x-remaining"]) < PATIENCE * 1.1, back


def uploads(stub):
    answer = stub.gather((Say(data=b"x" * 1000) for _ in range(1000)), timeout=PATIENCE)
    assert (answer.text, answer.count) == ("1000000", 1000), answer


def downloads(stub):
    answers = list(stub.count(Say(count=1000, data=b"y" * 1000), timeout=PATIENCE))
    assert [answer.count for answer in answers] == list(range(1000))
    assert sum(len(answer.data) for answer in answers) == 1_000_000


def talks(stub):
    """Each message is answered before the next is sent."""
    pipe = Pipe()
    answers = stub.chat(iter(pipe), timeout=PATIENCE)
    for number in range(20):
        pipe.say(text=f"message {number}")
        answer = next(answers)
        assert (answer.text, answer.count) == (f"message {number}", number), answer
    pipe.end()
    assert list(answers) == []
    assert answers.code() == grpc.StatusCode.OK


def large(stub):
    for size in [4 << 20, 20 << 20]:
        data = os.urandom(size)
        answer = stub.echo(Say(data=data), timeout=60)
        assert answer.data == data, len(answer.data)


def many(stub):
    """Many calls on one connection, all begun before any is awaited."""
    calls = [stub.echo.future(Say(text=str(number)), timeout=60) for number in range(500)]
    assert [call.result().text for call in calls] == [str(number) for number in range(500)]


def compressed(stub):
    text = "tide " * 10_000
    answer, call = stub.echo.with_call(Say(text=text), compression=grpc.Compression.Gzip, timeout=PATIENCE)
    assert answer.text == text


def fails(stub):
    """Each status of the target comes through, with its words."""
    for code in range(1, 17):
        error = status(stub.echo, Say(fail=code, text=f"größer {code}"), timeout=PATIENCE)
        assert error.code().value[0] == code and error.details() == f"größer {code}", error


def unknown(stub, channel):
    """Of the target, not of the gateway."""
    call = channel.unary_unary(f"/{tide.NAME}/Nothing", Say.SerializeToString, Say.FromString)
    error = status(call, Say(), timeout=PATIENCE)
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error


def breaks(stub):
    """A stream that has begun ends with the status of the target."""
    answers = stub.watch(Say(fail=10, count=0), timeout=PATIENCE)
    assert next(answers).text == "watching"
    error = status(lambda: answers)
    assert error.code() == grpc.StatusCode.ABORTED and error.details() == "no more", error


def late(stub):
    started = time.monotonic()
    error = status(stub.wait, Say(), timeout=0.3)
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    assert time.monotonic() - started < PATIENCE / 2


def cancels(stub):
    answers = stub.watch(Say(), timeout=PATIENCE)
    assert next(answers).text == "watching"
    answers.cancel()
    error = status(lambda: answers)
    assert error.code() == grpc.StatusCode.CANCELLED, error


def cancels_waiting(stub):
    call = stub.wait.future(Say(), timeout=PATIENCE)
    tell("waiting")
    sys.stdin.readline()
    assert call.cancel()


def holds(stub):
    """Calls that go on until this process is killed."""
    streams = [stub.watch(Say()) for _ in range(5)]
    for answers in streams:
        assert next(answers).text == "watching"
    tell("holding")
    threading.Event().wait()


def quiet(stub):
    """A stream without deadline may pause for longer than a plain answer may take."""
    pipe = Pipe()
    answers = stub.chat(iter(pipe))
    pipe.say(text="a")
    assert next(answers).text == "a"
    tell("pausing")
    sys.stdin.readline()
    pipe.say(text="b")
    assert next(answers).text == "b"
    pipe.end()
    assert list(answers) == []


def bounded(stub):
    """The target hears of the least of all bounds, and only of what is left of it."""
    _, call = stub.echo.with_call(Say(), timeout=1000)
    remaining = float(dict(call.trailing_metadata())["x-remaining"])
    assert 0 < remaining <= 5, remaining


def outsizes(stub):
    error = status(stub.echo, Say(data=b"x" * 3000), timeout=PATIENCE)
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and "a message is larger than" in error.details(), error


def told(stub):
    """How the gateway itself ends a call: prints code, words and metadata, call by call as it is asked to on its input."""
    for line in sys.stdin:
        name, *timeout = line.split()
        call = getattr(stub, name)
        request = iter([Say(text="a")]) if name in ("gather", "chat", "refuse") else Say(text="a")
        try:
            answer = call(request, timeout=float(timeout[0]) if timeout else PATIENCE)
            tell("OK", answer.text if isinstance(answer, Say) else len(list(answer)))
        except grpc.RpcError as error:
            more = {key: value for key, value in [*error.initial_metadata(), *error.trailing_metadata()] if isinstance(value, str)}
            tell(error.code().name, "|", error.details(), "|", *(f"{key}={more[key]}" for key in sorted(more)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--ca")
    parser.add_argument("--host", default="a.test")
    parser.add_argument("scenes", nargs="+")
    args = parser.parse_args()
    # One connection of this process's own, and no attempts that the gateway does not see.
    options = [*LARGE, ("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    if args.ca:
        credentials = grpc.ssl_channel_credentials(open(args.ca, "rb").read())
        channel = grpc.secure_channel(args.address, credentials, [*options, ("grpc.ssl_target_name_override", args.host)])
    else:
        channel = grpc.insecure_channel(args.address, options)
    for name in args.scenes:
        scene = globals()[name]
        scene(*[Stub(channel), channel][: len(inspect.signature(scene).parameters)])
        tell("done", name)


main()
