"""Stand-ins for third-party packages that are not installed.

While the user's file is imported they tolerate anything. Once :func:`arm` was called, any touch raises
:class:`StubTouched`: nothing that depends on a stand-in can be taken for an execution of the real thing.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

_armed = False

# Missing packages whose functions the standard library has too. What is computed with them while a file is imported
# (names, docstrings) is what the package would give; in a trial they are as absent as any other.
_COUNTERPARTS = {"regex": re}


class StubTouched(BaseException):
    """A trial needed a package that is not installed. Not an Exception: user code must not swallow it."""


def arm() -> None:
    global _armed
    _armed = True


def _touch(stub: object) -> None:
    if _armed:
        raise StubTouched(f"it needs {stub!r}, which is not installed")


def _absent(*args: object, **kwargs: object) -> NoReturn:
    raise StubTouched("it needs a function of a package that is not installed")


# What is copied from one function to another while a file is imported.
_OF_FUNCTIONS = frozenset(
    "__code__ __globals__ __name__ __qualname__ __defaults__ __closure__ __kwdefaults__ __annotations__".split()
)


class StubBase:
    """What a class inherits that names a stand-in as its base; no instance of it can be made."""

    def __new__(cls, *args: object, **kwargs: object) -> NoReturn:
        raise StubTouched(f"{cls.__name__} inherits from a package that is not installed")

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__()


class Stub:
    """Anything imported, called, subscripted or looked up from a missing package."""

    def __init__(self, name: str) -> None:
        self.__dict__["_stub_name"] = name

    def __repr__(self) -> str:
        return str(self.__dict__["_stub_name"])

    def __getattr__(self, name: str) -> Any:
        if name in _OF_FUNCTIONS:
            return repr(self).rpartition(".")[2] if name in ("__name__", "__qualname__") else getattr(_absent, name)
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)  # protocols such as __torch_function__ or __array__ are not offered
        return self._derive(f"{self!r}.{name}")

    def _derive(self, name: str) -> Stub:
        _touch(self)
        return Stub(name)

    def __call__(self, *args: object, **kwargs: object) -> Any:
        if len(args) == 1 and not kwargs and isinstance(args[0], type):
            return _decorated(args[0], self)
        return self._derive(f"{self!r}()")

    def __getitem__(self, key: object) -> Stub:
        return self._derive(f"{self!r}[...]")

    def __or__(self, other: object) -> Stub:
        return self._derive(f"{self!r}")

    __ror__ = __or__

    def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[type, ...]:
        return (StubBase,)

    def __instancecheck__(self, instance: object) -> bool:
        _touch(self)
        return False

    def __subclasscheck__(self, subclass: type) -> bool:
        _touch(self)
        return False

    def __iter__(self) -> Iterator[Any]:
        _touch(self)
        return iter(())

    def __contains__(self, item: object) -> bool:
        _touch(self)
        return False

    def __len__(self) -> int:
        _touch(self)
        return 0

    def __bool__(self) -> bool:
        _touch(self)
        return True

    def _compare(self, other: object) -> bool:
        _touch(self)
        return False

    __lt__ = __le__ = __gt__ = __ge__ = _compare

    def __fspath__(self) -> str:
        _touch(self)
        return os.path.join(tempfile.gettempdir(), "not-installed")

    def __enter__(self) -> Stub:
        return self._derive(f"{self!r}")

    def __exit__(self, *exception: object) -> None:
        _touch(self)

    def __setattr__(self, name: str, value: object) -> None:
        _touch(self)

    def __deepcopy__(self, memo: object) -> Stub:
        return self


def _tolerant(function: Callable[..., Any], stub: Stub) -> Callable[..., Any]:
    """The function; where it does not take what the missing one takes, the stand-in."""

    def either(*args: Any, **kwargs: Any) -> Any:
        _touch(stub)
        try:
            return function(*args, **kwargs)
        except (re.error, TypeError, ValueError):
            return stub(*args, **kwargs)

    return either


def _decorated(cls: type, stub: Stub) -> type:
    """A class that a stand-in decorates: it keeps its place among the classes, but no instance of it can be made."""
    _touch(stub)

    def absent(inner: type, *args: object, **kwargs: object) -> NoReturn:
        raise StubTouched(f"{inner.__name__} is decorated by {stub!r}, which is not installed")

    try:
        return type(cls)(
            cls.__name__, (cls,), {"__new__": absent, "__module__": cls.__module__, "__doc__": cls.__doc__}
        )
    except Exception:  # what the user's class does with its subclasses may raise anything
        return StubBase


class StubModule(types.ModuleType):
    """A missing package or one of its submodules; every public name is there."""

    __version__ = "0.0.0"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        _touch(self)
        found = sys.modules.get(f"{self.__name__}.{name}")
        if found is not None:
            return found
        stub = Stub(f"{self.__name__}.{name}")
        counterpart = getattr(_COUNTERPARTS.get(self.__name__), name, stub)
        return _tolerant(counterpart, stub) if callable(counterpart) and counterpart is not stub else counterpart

    def __repr__(self) -> str:
        return self.__name__
