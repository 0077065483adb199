"""Data with fields that do not count where two are compared: where a thing was found, not what it is."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TypeVar

from msgspec import Struct

Record = TypeVar("Record", bound=Struct)


def compared_without(*names: str) -> Callable[[type[Record]], type[Record]]:
    """Give a frozen class ``==`` and ``hash`` by all of its fields but ``names``.

    Raises :class:`TypeError` for a name that is no field, or where no field is left to compare.
    """

    def decorated(cls: type[Record]) -> type[Record]:
        fields = cls.__struct_fields__
        left = [name for name in fields if name not in names]
        if len(left) != len(fields) - len(names) or not left:
            raise TypeError(f"{cls.__name__} is to be compared by {left}, without {list(names)}, of {list(fields)}")
        compared = attrgetter(*left)

        def __eq__(self: Record, other: object) -> bool:
            return compared(self) == compared(other) if type(other) is type(self) else NotImplemented

        def __hash__(self: Record) -> int:
            return hash(compared(self))

        cls.__eq__ = __eq__  # type: ignore[method-assign, assignment]  # in place of msgspec's
        cls.__hash__ = __hash__  # type: ignore[method-assign, assignment]  # as well
        return cls

    return decorated
