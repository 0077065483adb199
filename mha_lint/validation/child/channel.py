"""JSON messages over the connections of :mod:`multiprocessing`."""

from __future__ import annotations

from multiprocessing.connection import Connection
from typing import TypeVar

from mha_lint.validation.evidence import typed_json

_LARGEST = 64 << 20  # bytes; no honest message comes near
Kind = TypeVar("Kind")


def send(connection: Connection, message: object) -> None:
    """Send a struct. Raise OSError when the other side is gone."""
    send_text(connection, typed_json.dumped(message))


def send_text(connection: Connection, text: str) -> None:
    """Send what is JSON already. Raise OSError when the other side is gone."""
    connection.send_bytes(text.encode("ascii"))


def receive(connection: Connection, kind: type[Kind], *, to_show: bool = False) -> Kind:
    """Block until a whole message is there. With ``to_show``, texts in it can be printed, whoever wrote them.

    Raise EOFError or OSError when the other side is gone, and Malformed when it said something other than ``kind``.
    """
    return typed_json.loaded(connection.recv_bytes(_LARGEST), kind, to_show=to_show)
