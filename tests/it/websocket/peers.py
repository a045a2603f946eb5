"""A server and clients of WebSocket as others have written them: `peers.py serve` prints its port; `peers.py talk PORT` goes through a gateway."""

import asyncio
import random
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def served():
    async with serve(echo, "127.0.0.1", 0, max_size=None, subprotocols=["v2"]) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def messages(random):
    yield "hello κόσμε"
    yield ""
    yield b""
    for size in (1, 125, 126, 65535, 65536, 1 << 20, 5 << 20):
        yield "text " * (size // 5 + 1)
        yield random.randbytes(size)


async def one(uri, extensions, expected):
    async with connect(uri, subprotocols=["v1", "v2"], compression=None, extensions=extensions, max_size=None) as socket:
        agreed = [extension.name for extension in socket.protocol.extensions]
        assert agreed == expected, agreed
        assert socket.subprotocol == "v2", socket.subprotocol
        for message in messages(random.Random(7692)):
            await socket.send(message)
            assert await socket.recv() == message
        await socket.send(iter(["in ", "several ", "fragments"]))
        assert await socket.recv() == "in several fragments"
        await (await socket.ping())
        await asyncio.gather(*(socket.send(str(number)) for number in range(1000)))
        assert [await socket.recv() for _ in range(1000)] == [str(number) for number in range(1000)]
    assert socket.close_code == 1000, socket.close_code


async def talk(port):
    uri = f"ws://127.0.0.1:{port}/"
    deflate = ClientPerMessageDeflateFactory
    await one(uri, None, [])
    await one(uri, [deflate()], ["permessage-deflate"])
    await one(uri, [deflate(client_max_window_bits=True)], ["permessage-deflate"])
    await one(uri, [deflate(client_max_window_bits=9, server_max_window_bits=10)], ["permessage-deflate"])
    await one(uri, [deflate(server_no_context_takeover=True, client_no_context_takeover=True)], ["permessage-deflate"])
    await asyncio.gather(*(one(uri, [deflate()], ["permessage-deflate"]) for _ in range(4)))
    print("all well", flush=True)


asyncio.run(served() if sys.argv[1] == "serve" else talk(int(sys.argv[2])))
