"""Loads a file as the module that it really is: real package name, relative imports, missing packages stood in for."""

from __future__ import annotations
import __future__

import ast
import contextlib
import functools
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import itertools
import linecache
import os
import re
import sys
import traceback
import types
import warnings
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TextIO

from msgspec import Struct

import mha_lint
from mha_lint.parsing import parse, silently
from mha_lint.validation.child import torch_settings
from mha_lint.validation.child.stubs import StarNames, StubModule
from mha_lint.validation.evidence import dependencies

_ROOT_MARKS = ("pyproject.toml", "setup.py", "setup.cfg", ".git")
_OURS = os.path.join(os.path.dirname(os.path.abspath(mha_lint.__file__)), "validation") + os.sep
_IMPORT_ERRORS = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}


_BARE = 2  # folders without an ``__init__.py``, one in the other, that a package around them takes in


class CannotLoad(Exception):
    """The file cannot be imported; the message says why."""


class Place(Struct, frozen=True):
    """Where a file belongs: ``name`` is its full module name, ``root`` the folder that must be on sys.path."""

    path: str
    name: str
    root: str
    packages: tuple[str, ...]  # the enclosing packages, outermost first


class Loaded(Struct, frozen=True):
    """One text of the file, executed. ``pseudo`` is the file name that its code objects carry.

    A script may leave (``sys.exit``, or ``parse_args`` that lacks arguments): ``left`` is the row where it did, below
    which nothing ran; 0 where it ran to its end.
    """

    module: types.ModuleType
    pseudo: str
    source: str
    tree: ast.Module
    left: int = 0


def place_of(path: str) -> Place:
    """Walk up to the outermost package around the file; within one, folders may lack an ``__init__.py``."""
    file = Path(path)
    root = file.parent
    for folder in itertools.takewhile(lambda each: each.name.isidentifier(), file.parents):
        if (folder / "__init__.py").exists():
            root = folder.parent
        elif len(root.parts) - len(folder.parts) >= _BARE:
            break
    packages = file.parent.parts[len(root.parts) :]
    names = tuple(".".join(packages[: count + 1]) for count in range(len(packages)))
    parts = packages if file.stem == "__init__" else (*packages, file.stem)
    if not packages:
        parts = (f"_mha_lint_subject_{file.stem}" if file.stem in sys.modules else file.stem,)
    return Place(str(file), ".".join(parts), str(root), names)


def load(place: Place, label: str, source: str, marked: ast.Module | None = None) -> Loaded:
    """Execute ``source`` as the module at ``place``. Raise CannotLoad with the reason where it cannot be.

    With ``marked``, that tree of the same text is what runs.
    """
    pseudo = f"{place.path}#{label}"
    try:
        tree = parse(source)
        with silently():
            code = compile(marked or source, pseudo, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise CannotLoad(f"the text {label} does not compile: {error}") from error
    # No modification time: linecache then keeps the lines, for inspect.getsource and torch.jit.script.
    linecache.cache[pseudo] = (len(source), None, source.splitlines(keepends=True), pseudo)
    module = types.ModuleType(place.name)
    module.__file__ = place.path
    is_package = Path(place.path).name == "__init__.py"
    module.__package__ = place.name if is_package else place.name.rpartition(".")[0]
    spec = importlib.machinery.ModuleSpec(place.name, None, origin=place.path, is_package=is_package)
    module.__spec__ = spec
    if is_package:
        module.__path__ = [str(Path(place.path).parent)]
    sys.modules[place.name] = module
    left = 0
    try:
        with quiet(), torch_settings.kept():
            exec(code, module.__dict__)
    except Exception as error:
        raise CannotLoad(f"importing the text {label} raised {in_one_line(error)}") from error
    except SystemExit as error:
        rows = [frame.lineno or 0 for frame in traceback.extract_tb(error.__traceback__) if frame.filename == pseudo]
        left = rows[0] if rows else 1
        if not _defines_anything(module):
            raise CannotLoad(f"importing the text {label} ends at line {left} with {in_one_line(error)}") from error
    return Loaded(module, pseudo, source, tree, left)


def _defines_anything(module: types.ModuleType) -> bool:
    """Tell whether the module has a class or function of its own."""
    return any(getattr(value, "__module__", "") == module.__name__ for value in vars(module).values())


def in_one_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:300]}" if text else type(error).__name__


_sinks: list[TextIO] = []  # the file that takes what is printed, once it is open


def _sink() -> TextIO:
    """The file that swallows what is written to it: opened once, and again where the user's code has closed it."""
    if not _sinks or _sinks[-1].closed:
        _sinks[:] = [open(os.devnull, "w")]  # noqa: SIM115  # it stays open
    return _sinks[-1]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Swallow what the user's code prints and warns; its output can be endless, so it is not kept."""
    sink = _sink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            yield


Way = Literal["lazily", "after the root", "after the root alone", "after all", "with annotations unread"]


def ways(place: Place) -> tuple[Way, ...]:
    """Return the ways to import the enclosing packages of a file, in the order to try them."""
    if not place.packages:
        return ("lazily",)
    if len(place.packages) == 1:
        return "lazily", "after all", "with annotations unread"
    return "lazily", "after the root", "after the root alone", "after all", "with annotations unread"


def prepare(place: Place, way: Way) -> None:
    """Make the imports of ``place`` work: search paths, enclosing packages, stand-ins for what is missing.

    A package imported lazily runs its own ``__init__`` only when the file asks for a name that no submodule has: it
    often imports the whole library, and with it everything that is not installed. But some libraries can be imported
    in the order of their own ``__init__`` alone: the root's, with the packages beside the enclosing ones as they are
    or lazily too, or all of them. At last, the annotations of the package's other files are left unread: they name what
    is not installed, and are evaluated for nothing.
    """
    if place.root not in sys.path:
        sys.path.insert(0, place.root)
    ours = (StandInFinder, _AnnotationsUnread, _PackagesLazily)
    for finder in [finder for finder in sys.meta_path if isinstance(finder, ours)]:
        sys.meta_path.remove(finder)
    sys.meta_path.append(StandInFinder(place))
    if way == "with annotations unread":
        sys.meta_path.insert(0, _AnnotationsUnread(place.packages[0]))
    importlib.invalidate_caches()
    sys.argv = [place.path]  # what a script may read when it is imported
    if way == "after all":
        _import_package(place.packages[-1])
        return
    if way in ("after the root", "after the root alone"):
        _import_package(place.packages[0])
    if way == "after the root alone":
        sys.meta_path.insert(0, _PackagesLazily(place.packages[0]))
    for name in place.packages:
        if name not in sys.modules:
            sys.modules[name] = LazyPackage(name, os.path.join(place.root, *name.split(".")))


def _import_package(name: str) -> None:
    try:
        with quiet(), torch_settings.kept():
            importlib.import_module(name)
    except SystemExit as error:
        raise CannotLoad(f"importing its package ends with {in_one_line(error)}") from error


def forget(place: Place, earlier: Collection[str] = ()) -> None:
    """Drop what an attempt to import left of the package, but for what was there ``earlier``."""
    top = place.name.partition(".")[0]
    for name in [name for name in sys.modules if name == top or name.startswith(top + ".")]:
        if name not in earlier:
            del sys.modules[name]


def leave(place: Place) -> None:
    """Forget the text that was loaded last as the module at ``place``; what it imported stays."""
    sys.modules.pop(place.name, None)


@contextlib.contextmanager
def without_stand_ins() -> Iterator[None]:
    """Let what is missing be missing: torch asks what is installed before it compiles."""
    finders = list(sys.meta_path)
    sys.meta_path[:] = [finder for finder in finders if not isinstance(finder, StandInFinder)]
    try:
        yield
    finally:
        sys.meta_path[:] = finders


class _AnnotationsUnread:
    """Finds the files of one package, and has them compiled with their annotations as text."""

    def __init__(self, package: str) -> None:
        self._inside = package + "."

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(name, path) if name.startswith(self._inside) else None
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _TextLoader(name, spec.loader.path)
        return spec


class _TextLoader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname: str) -> types.CodeType:
        flags = __future__.annotations.compiler_flag
        with silently():
            code: types.CodeType = compile(self.get_data(self.path), self.path, "exec", flags, dont_inherit=True)
        return code


class LazyPackage(types.ModuleType):
    """An enclosing package whose ``__init__`` has not run: submodules are found, other names make it run."""

    def __init__(self, name: str, folder: str) -> None:
        super().__init__(name)
        self.__path__ = [folder]
        self.__file__ = os.path.join(folder, "__init__.py")
        self.__package__ = name
        self.__spec__ = importlib.machinery.ModuleSpec(name, None, origin=self.__file__, is_package=True)
        self.__dict__["_initialised"] = False

    def __getattr__(self, name: str) -> Any:
        successor = sys.modules.get(self.__name__)  # a package may put another object in its own place
        if self.__dict__["_initialised"] and successor is not None and successor is not self:
            return getattr(successor, name)
        if (name.startswith("__") and name != "__version__") or self.__dict__["_initialised"]:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if name.isidentifier() and importlib.machinery.PathFinder.find_spec(f"{self.__name__}.{name}", self.__path__):
            return importlib.import_module(f"{self.__name__}.{name}")
        assert self.__file__ is not None
        with open(self.__file__, "rb") as stream:
            source = stream.read()
        tree = parse(source)
        for node in tree.body:
            match node:
                case ast.Assign(targets=[ast.Name(target)], value=ast.Constant(value=constant)) if target == name:
                    return constant
        for origin, original in _origins(tree, name):
            found = getattr(importlib.import_module(origin, self.__name__), original, None)
            if found is not None:
                self.__dict__[name] = found
                return found
        self.__dict__["_initialised"] = True
        with silently():
            code = compile(source, self.__file__, "exec", dont_inherit=True)
        exec(code, self.__dict__)
        return getattr(sys.modules[self.__name__], name)


class _PackagesLazily:
    """Finds the packages within one package, and has each of them run its ``__init__`` only when it must."""

    def __init__(self, package: str) -> None:
        self._inside = package + "."

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        found = importlib.machinery.PathFinder.find_spec(name, path) if name.startswith(self._inside) else None
        if found is None or found.origin is None or os.path.basename(found.origin) != "__init__.py":
            return None
        loader: Any = self
        spec = importlib.machinery.ModuleSpec(name, loader, origin=found.origin, is_package=True)
        spec.submodule_search_locations = found.submodule_search_locations
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        assert spec.origin is not None
        return LazyPackage(spec.name, os.path.dirname(spec.origin))

    def exec_module(self, module: types.ModuleType) -> None: ...


def _origins(tree: ast.Module, name: str) -> Iterator[tuple[str, str]]:
    """The submodules from which an ``__init__`` plainly imports ``name``, and what it is called there."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    yield f".{node.module}", alias.name


_real_version = importlib.metadata.version
_real_find_spec = importlib.util.find_spec
_REQUIREMENT = re.compile(r"([\w.-]+)\s*(?:\[[^]]*\])?\s*(?:(?:==|>=|~=|<=)\s*([\w.]+).*)?")


def _version(distribution_name: str) -> str:
    """The version of what is installed; of what is not, the one that a caller's requirement ("torch>=2.1") names.

    Libraries check their requirements when they are imported. A stand-in must not fail that; a plain question for the
    version of something that is not there gets the honest answer.
    """
    try:
        return _real_version(distribution_name)
    except importlib.metadata.PackageNotFoundError:
        frame = sys._getframe(1)
        for name, value in frame.f_locals.items():
            asks = isinstance(value, str) and (value != distribution_name or name == "requirement")
            found = _REQUIREMENT.fullmatch(value) if asks else None
            if found and found[1].lower().replace("_", "-") == distribution_name.lower().replace("_", "-"):
                return found[2] or "0"
        raise


class StandInFinder:
    """The last resort of the import system: the user's own source folders, then a stand-in."""

    def __init__(self, place: Place) -> None:
        self._folders = _source_folders(place)
        self._missing: set[str] = set()
        self._probing = False
        importlib.util.find_spec = self._probe
        importlib.metadata.version = _version

    def _probe(self, name: str, package: str | None = None) -> importlib.machinery.ModuleSpec | None:
        """``importlib.util.find_spec``, by which libraries ask what is installed, must not see stand-ins."""
        self._probing = True
        try:
            return _real_find_spec(name, package)
        finally:
            self._probing = False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        top, _, rest = name.partition(".")
        if not rest:
            found = importlib.machinery.PathFinder.find_spec(name, self._folders)
            if found is not None:
                return found
            dependencies.note_absent(self._folders, name)
        dependencies.note_absent(sys.path if path is None else path, name.rpartition(".")[2])
        if rest and top not in self._missing:
            return None  # a submodule that a real package does not have is an error of the code
        if self._probing or _is_guarded(sys._getframe(1)):
            return None
        self._missing.add(top)
        loader: Any = self  # a loader by what it can do, not by inheritance
        return importlib.machinery.ModuleSpec(name, loader, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return StubModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        module.__path__ = []
        module.__dict__["__all__"] = StarNames(module.__name__)


def _source_folders(place: Place) -> list[str]:
    """The folders between the file and its project's root, where absolute imports of own modules may start."""
    folders: list[str] = []
    folder = Path(place.root)
    bare = [
        str(each) for each in Path(place.path).parents[: len(place.packages)] if not (each / "__init__.py").exists()
    ]
    for _ in range(5):
        folders += [str(folder), str(folder / "src")]
        if any((folder / mark).exists() for mark in _ROOT_MARKS):
            return folders + bare
        folder = folder.parent
    return folders[:2] + bare


def _is_guarded(frame: types.FrameType | None) -> bool:
    """Tell if the import runs inside ``try: … except ImportError``: the code has an answer to a missing package."""
    direct = True
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith("<frozen importlib") and "importlib" + os.sep not in file:
            if file.startswith(_OURS):
                return False
            for first, last, broad in _guards(file):
                if first <= frame.f_lineno <= last and (direct or not broad):
                    return True
            direct = False
        frame = frame.f_back
    return False


@functools.cache
def _guards(file: str) -> tuple[tuple[int, int, bool], ...]:
    """Rows of ``try`` bodies that catch ImportError: first, last, and whether they catch everything else too."""
    try:
        tree = parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return ()
    guards: list[tuple[int, int, bool]] = []
    for node in ast.walk(tree):
        match node:
            case ast.Try(body=[*body], handlers=handlers):
                caught = {name for handler in handlers if not _gives_up(handler) for name in _caught(handler)}
                if caught & _IMPORT_ERRORS:
                    narrow = caught & {"ImportError", "ModuleNotFoundError"}
                    guards.append((body[0].lineno, body[-1].end_lineno or body[-1].lineno, not narrow))
            case ast.With(items=items, body=[*body]) if any("suppress" in ast.unparse(item) for item in items):
                if any(name in ast.unparse(item) for item in items for name in _IMPORT_ERRORS):
                    guards.append((body[0].lineno, body[-1].end_lineno or body[-1].lineno, False))
    return tuple(guards)


def _gives_up(handler: ast.ExceptHandler) -> bool:
    """Tell whether what is done about the error is to raise another, but in cases that are told apart."""
    body = handler.body
    while isinstance(body[-1], ast.If) and body[-1].orelse:
        body = body[-1].orelse
    return isinstance(body[-1], ast.Raise)


def _caught(handler: ast.ExceptHandler) -> list[str]:
    match handler.type:
        case None:
            return ["BaseException"]
        case ast.Tuple(elts=elements):
            return [ast.unparse(element) for element in elements]
        case expression:
            return [ast.unparse(expression)]
