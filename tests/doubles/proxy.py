"""A proxy on a real loopback socket that counts and refuses on command: HTTP with CONNECT, or SOCKS 5.

    with Proxy() as proxy:                      # passes everything on
    with Proxy(Refusal.REPLY, status="407 Proxy Authentication Required") as proxy:
    with Proxy(Refusal.CLOSE, socks=True) as proxy:

`targets` are what clients wanted to reach, as "host:port"; every name is looked up as this machine, so that tests can
ask for any host. `key` is the user and the password that came with a request.
"""

import asyncio
import base64
import re
import threading
from contextlib import suppress
from enum import Enum, auto
from typing import Self


class Refusal(Enum):
    CLOSE = auto()
    """The connection is closed without a word."""
    SILENCE = auto()
    """The connection stays open and nothing comes."""
    REPLY = auto()
    """HTTP: `status` is answered. SOCKS: the reply says that the connection is refused."""
    GARBAGE = auto()


class Proxy:
    def __init__(self, refuse: Refusal | None = None, *, socks: bool = False, status: str = "403 Forbidden") -> None:
        self.targets: list[str] = []
        self.key = ""
        self.port = 0
        self._refuse = refuse
        self._socks = socks
        self._status = status
        self._conversations: set[asyncio.Task[None] | None] = set()
        """The loop holds no task that waits for a peer which says nothing more: it would be collected in mid-wait."""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    @property
    def url(self) -> str:
        return f"{'socks5' if self._socks else 'http'}://127.0.0.1:{self.port}"

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.run_until_complete(asyncio.sleep(0))  # closed transports let go of their sockets
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._conversations.add(asyncio.current_task())
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError, asyncio.LimitOverrunError):
            await (self._serve_socks if self._socks else self._serve_http)(reader, writer)
        with suppress(RuntimeError):  # the loop has ended
            writer.close()

    async def _serve_http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target = head.split(b" ")[:2]
        if sent := re.search(rb"(?i)\r\nproxy-authorization: basic (\S+)", head):
            self.key = base64.b64decode(sent[1]).decode()
        tunnel = method == b"CONNECT"
        whole = re.fullmatch(rb"(?:http://)?([^/]+)(.*)", target)
        assert whole is not None
        self.targets.append(whole[1].decode())
        if self._refuse is not None:
            await self._refused(writer, f"HTTP/1.1 {self._status}\r\nContent-Length: 0\r\n\r\n".encode())
            return
        port = int(whole[1].rpartition(b":")[2]) if b":" in whole[1] else 80
        there = await asyncio.open_connection("127.0.0.1", port)
        if tunnel:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            there[1].write(head.replace(target, whole[2] or b"/", 1))
        await self._joined(reader, writer, *there)

    async def _serve_socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly((await reader.readexactly(2))[1])
        writer.write(b"\x05\x00")
        kind = (await reader.readexactly(4))[3]
        if kind == 3:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        else:
            host = ".".join(map(str, await reader.readexactly(4 if kind == 1 else 16)))
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.targets.append(f"{host}:{port}")
        if self._refuse is not None:
            await self._refused(writer, b"\x05\x05\x00\x01\0\0\0\0\0\0")
            return
        there = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x05\x00\x00\x01\0\0\0\0\0\0")
        await self._joined(reader, writer, *there)

    async def _refused(self, writer: asyncio.StreamWriter, reply: bytes) -> None:
        if self._refuse is Refusal.SILENCE:
            await asyncio.sleep(60)
        elif self._refuse is Refusal.REPLY:
            writer.write(reply)
            await writer.drain()
        elif self._refuse is Refusal.GARBAGE:
            writer.write(b"\x00\x01\x02 what?\r\n\r\n")
            await writer.drain()

    async def _joined(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far: asyncio.StreamReader,
        to_far: asyncio.StreamWriter,
    ) -> None:
        try:
            await asyncio.gather(_piped(reader, to_far), _piped(far, writer))
        finally:
            to_far.close()


async def _piped(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
        target.write_eof()
