"""Frozen dataclasses that are made, and copied with a change, a hundred thousand times a file.

Their fields lie in a ``__dict__`` of its own, which is set as a whole: such classes are made without ``slots=True``. It
is never one that shares its keys with others, as Python makes it: of those, attributes are read three times as slow.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from dataclasses import replace
else:
    Record = TypeVar("Record")
    _set = object.__setattr__
    _new = object.__new__

    def replace(record: Record, /, **changes: Any) -> Record:
        """Do what ``dataclasses.replace`` does, ten times as fast.

        Raises :class:`TypeError` for a field that the class lacks.
        """
        known = record.__dict__
        changed = {**known, **changes}
        if len(changed) != len(known):
            raise TypeError(f"{type(record).__name__} has no field of one of the names {sorted(changes)}")
        made = _new(record.__class__)
        _set(made, "__dict__", changed)
        return made


def made_quickly(cls: type[Any]) -> None:
    """Give a frozen dataclass a constructor that does what its own does, four times as fast.

    Raises :class:`TypeError` for a class one of whose fields has no default.
    """
    defaults = {field.name: field.default for field in fields(cls)}
    if MISSING in defaults.values():
        raise TypeError(f"{cls.__name__} has a field without a default")
    names = tuple(defaults)
    count = len(names)

    def __init__(self: Any, *given: Any, **known: Any) -> None:
        values = {**defaults, **dict(zip(names, given, strict=False)), **known} if given else {**defaults, **known}
        if len(values) != count or len(given) > count:
            raise TypeError(f"{cls.__name__} has no field of one of the names {sorted(known)}")
        object.__setattr__(self, "__dict__", values)

    cls.__init__ = __init__


__all__ = ["made_quickly", "replace"]
