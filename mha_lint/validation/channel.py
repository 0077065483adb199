"""Length-prefixed JSON messages over a socket."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

_HEADER = struct.Struct("!Q")


def send(sock: socket.socket, message: dict[str, Any]) -> None:
    """Raise OSError when the other side is gone."""
    body = json.dumps(message).encode()
    sock.sendall(_HEADER.pack(len(body)) + body)


def receive(sock: socket.socket) -> dict[str, Any]:
    """Block until a whole message is there. Raise EOFError when the other side is gone."""
    (size,) = _HEADER.unpack(_exactly(sock, _HEADER.size))
    message: dict[str, Any] = json.loads(_exactly(sock, size))
    return message


def _exactly(sock: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = sock.recv(min(size - len(parts), 1 << 20))
        if not part:
            raise EOFError("the other side closed the connection")
        parts += part
    return bytes(parts)
