"""Stand-ins for third-party packages that are not installed.

While the user's file is imported they tolerate anything. Once :func:`arm` was called, any touch raises
:class:`StubTouched`: nothing that depends on a stand-in can be taken for an execution of the real thing.
"""

from __future__ import annotations

import builtins
import dis
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
    """Have whatever touches a stand-in from now on fail."""
    global _armed
    _armed = True


def disarm() -> None:
    """Let stand-ins be touched, as the import of another text needs it."""
    global _armed
    _armed = False


# Packages that are light and often used, and how pip calls them. Of other names nothing is advised: what pip would find
# under the name of a module of the user's own may be anything.
_PIP_NAMES = {
    "cv2": "opencv-python-headless", "einops": "einops", "einx": "einx", "fairscale": "fairscale",
    "fvcore": "fvcore", "hydra": "hydra-core", "jaxtyping": "jaxtyping", "beartype": "beartype",
    "loguru": "loguru", "matplotlib": "matplotlib", "ml_collections": "ml-collections", "numpy": "numpy",
    "omegaconf": "omegaconf", "opt_einsum": "opt-einsum", "pandas": "pandas", "PIL": "pillow",
    "regex": "regex", "rotary_embedding_torch": "rotary-embedding-torch", "safetensors": "safetensors",
    "scipy": "scipy", "skimage": "scikit-image", "sklearn": "scikit-learn", "tensorboard": "tensorboard",
    "timm": "timm", "torchvision": "torchvision", "tqdm": "tqdm", "transformers": "transformers",
    "x_transformers": "x-transformers", "yacs": "yacs", "yaml": "pyyaml",
}  # fmt: skip


def _not_installed(what: object) -> str:
    """The words that say so, with the way to install it where that is sure."""
    package = _PIP_NAMES.get(str(what).partition(".")[0])
    return f"{what}, which is not installed" + (f" (pip install {package})" if package else "")


def _touch(stub: object) -> None:
    if _armed:
        raise StubTouched(f"it needs {_not_installed(stub)}")


def _absent(*args: object, **kwargs: object) -> NoReturn:
    raise StubTouched("it needs a function of a package that is not installed")


_METACLASS = re.compile(r"(?i:meta(class)?)$|\.type$")  # that a base is a metaclass, its name alone tells
# What is copied from one function to another while a file is imported.
_OF_FUNCTIONS = frozenset(
    "__code__ __globals__ __name__ __qualname__ __defaults__ __closure__ __kwdefaults__ __annotations__".split()
)


class StubBase:
    """Replace a stand-in that a class names as its base; no instance of the class can be made."""

    _stub_name = "a package"

    def __new__(cls, *args: object, **kwargs: object) -> Any:
        if issubclass(cls, type):  # a metaclass that has another base as well: see `StubMeta`
            return _never_built(type.__new__(cls, *args), cls._stub_name)
        raise StubTouched(f"{cls.__name__} inherits from {_not_installed(cls._stub_name)}")

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__()


class StubMeta(type):
    """Replace a stand-in that a metaclass names as its base; no instance of its classes can be made."""

    _stub_name = "a package"

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kwargs: object) -> Any:
        return _never_built(super().__new__(cls, name, bases, namespace), cls._stub_name)

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kwargs: object) -> None:
        super().__init__(name, bases, namespace)


def _never_built(cls: type, stub_name: str) -> type:
    """The class, whose metaclass is not there: it keeps its place among the classes, but is never instantiated."""

    def absent(inner: type, *args: object, **kwargs: object) -> NoReturn:
        raise StubTouched(f"the metaclass of {inner.__name__} inherits from {_not_installed(stub_name)}")

    type.__setattr__(cls, "__new__", absent)
    return cls


def missing_base(cls: type) -> str:
    """The words that name the stand-in which a class inherits; "" where it inherits none."""
    names = [vars(base)["_stub_name"] for base in cls.__mro__ if "_stub_name" in vars(base)]
    return f"{cls.__name__} inherits from {_not_installed(names[0])}" if names else ""


def _base_of(stub_name: str) -> type:
    """A base of its own for each class that inherits a stand-in: two of them are no duplicates, in whatever order."""
    kind = StubMeta if _METACLASS.search(stub_name) else StubBase
    return type.__new__(type, kind.__name__, (kind,), {"_stub_name": stub_name})


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

    def _combine(self, *others: object) -> Stub:
        """The result of an operator, whatever stands on its other side."""
        return self._derive(f"{self!r}")

    __or__ = __ror__ = __and__ = __rand__ = __xor__ = __rxor__ = _combine
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __matmul__ = __rmatmul__ = _combine
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = _combine
    __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = _combine
    __neg__ = __pos__ = __invert__ = __abs__ = _combine

    def __format__(self, format_spec: str) -> str:
        return repr(self)

    def __setitem__(self, key: object, value: object) -> None:
        _touch(self)

    def __delitem__(self, key: object) -> None:
        _touch(self)

    def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[type, ...]:
        return (_base_of(repr(self)),)

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
        raise StubTouched(f"{inner.__name__} is decorated by {_not_installed(stub)}")

    try:
        return type(cls)(
            cls.__name__, (cls,), {"__new__": absent, "__module__": cls.__module__, "__doc__": cls.__doc__}
        )
    except Exception:  # what the user's class does with its subclasses may raise anything
        return StubBase


class StubModule(types.ModuleType):
    """A missing package or one of its submodules; every public name is there."""

    __version__ = "9999.0.0"  # code that asks wants a version that is new enough

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


def standing_in() -> set[str]:
    """The packages whose place stand-ins have taken."""
    return {name for name, module in sys.modules.items() if isinstance(module, StubModule) and "." not in name}


class StarNames:
    """``__all__`` of a missing package: ``from package import *`` gives whatever name the importing file lacks.

    A file may pass on to others what it got so. Then its own ``__all__`` is one of these, too, with ``defined``, its
    namespace, unless it sets another. Python asks for one item after the other, until there are no more.
    """

    def __init__(self, package: str, defined: dict[str, Any] | None = None) -> None:
        self._package, self._defined = package, defined
        self._names: list[str] = []

    def __getitem__(self, place: int) -> str:
        if place == 0:
            self._names = self._given_to(sys._getframe(1))
        return self._names[place]

    def _given_to(self, importing: types.FrameType) -> list[str]:
        lacking = _lacking(importing)
        if "__all__" not in importing.f_globals:
            importing.f_globals["__all__"] = StarNames(self._package, importing.f_globals)
        if self._defined is None:
            return lacking
        for name in lacking:
            self._defined.setdefault(name, Stub(f"{self._package}.{name}"))
        return [name for name in self._defined if not name.startswith("_")]


def _lacking(frame: types.FrameType) -> list[str]:
    """The names that the code of a file reads, of which it has none and makes none."""
    read: dict[str, None] = {}
    made = {*frame.f_globals, *dir(builtins)}
    codes = [frame.f_code]
    for code in codes:
        codes += [each for each in code.co_consts if isinstance(each, types.CodeType)]
        for item in dis.get_instructions(code):
            if item.opname in ("LOAD_NAME", "LOAD_GLOBAL"):
                read[item.argval] = None
            elif item.opname in ("STORE_NAME", "STORE_GLOBAL"):
                made.add(item.argval)
    return [name for name in read if name not in made and not name.startswith("_")]
