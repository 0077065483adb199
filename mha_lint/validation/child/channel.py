"""Length-prefixed JSON messages over a socket."""

from __future__ import annotations

import socket
import struct
from typing import TypeVar

from mha_lint.validation.evidence import typed_json

_HEADER = struct.Struct("!Q")
Kind = TypeVar("Kind")


def send(sock: socket.socket, message: object) -> None:
    """Send a dataclass. Raise OSError when the other side is gone."""
    send_text(sock, typed_json.dumped(message))


def send_text(sock: socket.socket, text: str) -> None:
    """Send what is JSON already. Raise OSError when the other side is gone."""
    body = text.encode("ascii")
    sock.sendall(_HEADER.pack(len(body)) + body)


def receive(sock: socket.socket, kind: type[Kind], *, to_show: bool = False) -> Kind:
    """Block until a whole message is there. With ``to_show``, texts in it can be printed, whoever wrote them.

    Raise EOFError when the other side is gone, and Malformed when it said something other than ``kind``.
    """
    (size,) = _HEADER.unpack(_exactly(sock, _HEADER.size))
    return typed_json.loaded(_exactly(sock, size), kind, to_show=to_show)


def _exactly(sock: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = sock.recv(min(size - len(parts), 1 << 20))
        if not part:
            raise EOFError("the other side closed the connection")
        parts += part
    return bytes(parts)
