"""The modules of one project: what a name that is imported in one of them refers to in another.

A module is read when somebody asks for one of its names, from the disk alone: nothing is imported or run. Packages of
third parties are not followed; their names stay names, such as ``torch.nn.Linear``.
"""

from __future__ import annotations

import ast
import builtins
import os
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from msgspec import Struct

from mha_lint.files import SourceError, decode, digest_of
from mha_lint.findings import PRESENT, Dependencies
from mha_lint.neighbours import listing, texts
from mha_lint.syntax.module import Module
from mha_lint.syntax.names import Definition, ModuleNames, Owner, collect

MAX_MODULES = 60  # modules that are read for one file
MAX_BYTES = 100_000  # of one module; larger ones cost more than what they tell
MAX_USERS = 8  # modules that are read because they say a name of the file
MAX_STARRED = 4  # modules whose star imports lead to one another
MAX_STARS = 16  # star imports of one module; what has more collects the names of a whole package
_INSTALLED = frozenset({"site-packages", "dist-packages"})  # folders in which each package is another project
_MARKS = (".git", "pyproject.toml", "setup.py", "setup.cfg")  # of a folder in which a whole project lies
_MODELLED = frozenset({"torch", "einops"})  # the model knows these by tables, wherever they lie
_CONVENTIONAL = {
    "torch": "torch",
    "nn": "torch.nn",
    "F": "torch.nn.functional",
    "einsum": "torch.einsum",
    "einops": "einops",
    "rearrange": "einops.rearrange",
    "Rearrange": "einops.layers.torch.Rearrange",
    "math": "math",
    "np": "numpy",
}
_OF_TORCH = ("torch", "torch.nn", "torch.nn.functional")


class Program:
    """One file, and the modules of its project that its imports lead to."""

    def __init__(self, path: Path, module: Module, roots: Sequence[Path], *, follows: bool = True) -> None:
        """``roots`` are folders in which the project's packages lie, besides the one that the file's own lies in."""
        self.dependencies: Dependencies = {}
        self.owners: dict[ast.AST, Owner] = {}
        self._path = os.path.abspath(path)
        self._known: dict[str, ModuleNames | None] = {}
        self._resolved: dict[tuple[int, str], Definition | str] = {}
        self._follows = follows
        self._roots = [os.path.abspath(root) for root in roots]
        self._texts: dict[str, bytes] | None = None  # of the files around
        self._sought: set[tuple[int, str]] = set()  # names that are being looked for in star imports
        self.main = collect(module, path=self._path, program=self)
        self._known[self._path] = self.main

    # --- names ---------------------------------------------------------------------------------------------------

    def resolve(self, names: ModuleNames, full: str) -> Definition | str:
        """Return the project's definition of a full name of a module's imports, such as ``.layers.Attention``.

        Return the full name itself where that lies in no file of the project, and the name that a file of the project
        imports it by, such as ``torch.nn``, where the file only hands it on.
        """
        if not self._follows:
            return full
        key = id(names), full
        if key not in self._resolved:
            self._resolved[key] = full  # of a circle of imports nothing is known
            self._resolved[key] = self._find(names, full)
        return self._resolved[key]

    def _find(self, names: ModuleNames, full: str) -> Definition | str:
        located = self._locate(names, full)
        if located is None:
            return full
        path, rest = located
        if not rest:
            return self._beside(path, full) or full
        module = self._module(path)
        found = None if module is None else self.member(module, rest[0])
        if found is None or len(rest) == 1:
            return full if found is None else found
        return ".".join((found, *rest[1:])) if isinstance(found, str) else full

    def _locate(self, names: ModuleNames, full: str) -> tuple[str, list[str]] | None:
        """The file of the module that a full name begins with, and the rest of the name.

        None for what lies in no file of the project.
        """
        stem = full.lstrip(".")
        level = len(full) - len(stem)
        parts = stem.split(".") if stem else []
        if level:
            folder = os.path.dirname(names.path)
            for _ in range(level - 1):
                folder = os.path.dirname(folder)
            return self._descend(folder, parts)
        if parts[0] in _MODELLED:
            return None
        folders = self._folders(names.path, parts[0])
        holder = next((folder for folder in folders if self._holds(folder, parts[0])), None)
        return None if holder is None else self._descend(holder, parts)

    def _descend(self, folder: str, parts: list[str]) -> tuple[str, list[str]]:
        for index, part in enumerate(parts):
            place = os.path.join(folder, part)
            if self._is_file(os.path.join(place, "__init__.py")):
                folder = place
            elif self._is_file(f"{place}.py"):
                return f"{place}.py", parts[index + 1 :]
            elif self._is_folder(place):  # a package without an ``__init__.py``; Python looks for those last
                folder = place
            else:
                return os.path.join(folder, "__init__.py"), parts[index:]
        return os.path.join(folder, "__init__.py"), []

    def _beside(self, path: str, full: str) -> Definition | str | None:
        """Return what a module's package binds the module's name to, as in ``from .attention import attention``."""
        place = os.path.dirname(path) if os.path.basename(path) == "__init__.py" else path.removesuffix(".py")
        folder, name = os.path.split(place)
        around = os.path.join(folder, "__init__.py")
        package = self._module(around) if self._is_file(around) else None
        if package is None or package is self.main:
            return None
        found = self.member(package, name)
        return found if isinstance(found, Definition) else None

    def _folders(self, path: str, top: str) -> Iterator[str]:
        """The folders in which an absolute import of a file is looked for, the nearest first."""
        package, root = self._package(path)
        if top == package:
            yield root
        if os.path.basename(root) in _INSTALLED:
            return
        marked = any(os.path.exists(os.path.join(root, mark)) for mark in _MARKS)
        beside = [root] if marked or not package else []  # a script imports what lies beside it
        yield from dict.fromkeys([*beside, *self._roots])

    def _package(self, path: str) -> tuple[str, str]:
        """The outermost package that a file lies in, and the folder that holds it, or the file itself."""
        package, folder = "", os.path.dirname(path)
        while self._is_file(os.path.join(folder, "__init__.py")):
            folder, package = os.path.split(folder)
        return package, folder

    def member(self, module: ModuleNames, name: str) -> Definition | str | None:
        """Return what a name of a module refers to, through imports and star imports; None where it has none."""
        defined = module.classes.get(name) or module.functions.get(name)
        if defined is not None:
            return Definition(module, defined)
        if name in module.imports:
            found = self.resolve(module, module.imports[name])
            is_relative = isinstance(found, str) and found.startswith(".")
            return None if is_relative else found  # to other modules such a name means something else
        if name in module.constants:
            return Definition(module, module.constants[name])
        return self.starred(module, name)

    def starred(self, module: ModuleNames, name: str) -> Definition | str | None:
        """Return the definition or full name that star imports bind a name to; the last one that has the name counts.

        Names of other packages are known by convention: ``nn`` is ``torch.nn``.
        """
        if name.startswith("_") or (id(module), name) in self._sought:
            return None
        self._sought.add((id(module), name))
        try:
            outside = []
            for star in reversed(module.stars[:MAX_STARS]):
                full = f"{star}{name}" if star.endswith(".") else f"{star}.{name}"
                located = self._locate(module, full)
                if located is None or not self._is_there(located):
                    outside.append(star)
                elif self._may_bind(located[0], name):
                    found = self.resolve(module, full)
                    if found != full:
                        return found
            return _by_convention(outside, name)
        finally:
            self._sought.discard((id(module), name))

    # --- users ---------------------------------------------------------------------------------------------------

    def users(self, name: str) -> list[ModuleNames]:
        """The other modules of the package around that say a name of the file, the nearest first, up to so many."""
        if not self._follows:
            return []
        folder = os.path.dirname(self._path)
        if self._texts is None:
            self._texts = texts(folder)
            self.dependencies[folder] = listing(self._texts)
        spelled = re.compile(rb"\b%s\b" % name.encode())
        saying = [path for path, data in self._texts.items() if spelled.search(data) and path != self._path]
        modules = map(self._module, saying[:MAX_USERS])
        return [module for module in modules if module is not None]

    def _may_bind(self, path: str, name: str) -> bool:
        """The text of a module says the name, or imports what another module has: a look that spares the parser."""
        if not self._is_file(path):
            return False
        data = _read(path).data
        return name.encode() in data or (b"import *" in data and len(self._sought) <= MAX_STARRED)

    def _is_there(self, located: tuple[str, list[str]]) -> bool:
        """Tell whether the project has the file of the module that a star import names: one may be missing."""
        path, rest = located
        return len(rest) < 2 and self._is_file(path)

    # --- files ---------------------------------------------------------------------------------------------------

    def _holds(self, folder: str, top: str) -> bool:
        place = os.path.join(folder, top)
        return self._is_file(f"{place}.py") or self._is_folder(place)

    def _is_folder(self, place: str) -> bool:
        """Tell whether a folder is there; that it is not is a thing that findings depend on."""
        if os.path.isdir(place):
            return True
        self.dependencies[place] = None
        return False

    def _is_file(self, path: str) -> bool:
        """Tell whether a file is there: findings depend on it, either way."""
        if path in self._known:
            return True
        if path not in self.dependencies:
            self.dependencies[path] = PRESENT if os.path.isfile(path) else None
        return self.dependencies[path] is not None

    def _module(self, path: str) -> ModuleNames | None:
        """The names of a module of the project; None where it can't be read, or is no Python."""
        if path not in self._known:
            self._known[path] = None
            if len(self._known) <= MAX_MODULES and self._is_file(path):
                read = _read(path)
                self.dependencies[path] = read.digest
                if read.module is not None:
                    self._known[path] = collect(read.module, path=path, program=self)
        return self._known[path]


def _by_convention(stars: Sequence[str], name: str) -> str | None:
    """Return the full name that star imports of the packages ``stars`` bind a name to; None where that is not sure.

    Names of Python's own are left alone.
    """
    if not stars or hasattr(builtins, name):
        return None
    if name in _CONVENTIONAL:
        return _CONVENTIONAL[name]
    if not all(star in _OF_TORCH for star in stars):
        return None
    wanted = _OF_TORCH if len(stars) == 1 else (["torch.nn"] if name[0].isupper() else ["torch.nn.functional", "torch"])
    return next((f"{star}.{name}" for star in wanted if star in stars), None)


# --- what was read stays in memory, since most files of a project import the same modules


class _Read(Struct, frozen=True, dict=True):
    """A file as it was when it had this stamp."""

    path: str
    stamp: tuple[int, int, int]
    data: bytes

    @cached_property
    def digest(self) -> str:
        return digest_of(self.data)

    @cached_property
    def module(self) -> Module | None:
        """The file parsed; None for what is too large, or no Python."""
        if len(self.data) > MAX_BYTES:
            return None
        try:
            return Module(decode(Path(self.path), self.data).text)
        except (SourceError, SyntaxError, ValueError, RecursionError, MemoryError):
            return None  # whoever lints that file says what is wrong with it


_KEPT_BYTES = 2_000_000  # of text; their trees take some fifty times as much
_kept: OrderedDict[str, _Read] = OrderedDict()


def _read(path: str) -> _Read:
    """A file as it is now."""
    try:
        status = os.stat(path)
        stamp = status.st_size, status.st_mtime_ns, status.st_ino
        known = _kept.get(path)
        if known is not None and known.stamp == stamp:
            _kept.move_to_end(path)
            return known
        with open(path, "rb") as stream:
            data = stream.read()
    except OSError:
        return _Read(path, (0, 0, 0), b"")
    read = _Read(path, stamp, data)
    _kept[path] = read
    _kept.move_to_end(path)
    while sum(len(each.data) for each in _kept.values()) > _KEPT_BYTES and len(_kept) > 1:
        _kept.popitem(last=False)
    return read
