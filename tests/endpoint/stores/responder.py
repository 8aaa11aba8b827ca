"""A scripted directory on loopback: it answers binds and searches as it is told, or not at all."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self

Script = Callable[["Responder", socket.socket, int, int, bytes], bytes | None]


def tlv(tag: int, *parts: bytes) -> bytes:
    """Write one BER element."""
    body = b"".join(parts)
    size = bytes([len(body)]) if len(body) < 128 else b"\x82" + len(body).to_bytes(2)
    return bytes([tag]) + size + body


def message(number: int, operation: bytes) -> bytes:
    return tlv(0x30, tlv(0x02, number.to_bytes(4)), operation)


def result(tag: int, code: int, text: str = "", *more: bytes) -> bytes:
    return tlv(tag, tlv(0x0A, bytes([code])), tlv(0x04), tlv(0x04, text.encode()), *more)


def bind_result(code: int, text: str = "", *more: bytes) -> bytes:
    return result(0x61, code, text, *more)


def entry(name: str) -> bytes:
    return tlv(0x64, tlv(0x04, name.encode()), tlv(0x30))


def reference(url: str) -> bytes:
    return tlv(0x73, tlv(0x04, url.encode()))


class Responder:
    """Answer each request by a script.

    Args:
        script: gets this object, the socket, the message's number, the operation's tag and the whole message; returns
            what to send, or None to stay silent.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        self.ended = threading.Event()
        self.received = b""

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while data := self._read(connection):
                self.received += data
                start = 4 + (data[1] & 0x7F if data[1] & 0x80 else 0)
                end = start + data[start - 1]
                number, tag = int.from_bytes(data[start:end]), data[end]
                if tag == 0x42:
                    return
                with contextlib.suppress(OSError):
                    connection.sendall(self._script(self, connection, number, tag, data) or b"")

    @staticmethod
    def _read(connection: socket.socket) -> bytes:
        try:
            return connection.recv(4096)
        except OSError:
            return b""
