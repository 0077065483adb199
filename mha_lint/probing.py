"""``--probe``: finds a class or function by its name, has its properties tried, and prints them as a table."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from mha_lint.definitions import importable
from mha_lint.files import Source, SourceError, read_source
from mha_lint.parsing import parse
from mha_lint.settings import Settings, close_match
from mha_lint.validation import DeviceMissing, Probed, Probing, TorchMissing, Validator

_HOPS = 8  # files that may hand a name on to each other
_HARNESS = "To say in pyproject.toml how it is run, correct the attempt that got furthest:"


class ProbingError(Exception):
    """A class or function that can't be probed; the message says why, and what to do."""


class Named(Struct, frozen=True):
    """The class or function ``target`` and the file that defines it."""

    path: Path
    target: str
    source: Source
    node: ast.ClassDef | ast.FunctionDef


def locate(name: str) -> Named:
    """Find what ``pkg.mod:Class`` or ``path/file.py:Class`` names, without importing it. Raises ProbingError."""
    place, colon, target = name.rpartition(":")
    if not colon or not place or not all(part.isidentifier() for part in target.split(".")):
        raise ProbingError(f"--probe {name}: expected pkg.mod:Class or path/file.py:Class")
    path = Path(place) if place.endswith((".py", ".ipynb")) else _module(place)
    if path is None:
        raise ProbingError(f"--probe {name}: there is no module {place} here or on Python's path")
    return _defined(path, target, _HOPS)


def probe(
    named: Named, settings: Settings, devices: tuple[str, ...], require: tuple[str, ...], timeout: float
) -> Probed:
    """Try the properties in an isolated process, on the devices, for ``timeout`` seconds at most.

    Raises ProbingError where no way to run it was found.
    """
    node = named.node
    inner = node.body if isinstance(node, ast.ClassDef) else []
    methods = [item.name for item in inner if isinstance(item, ast.FunctionDef) and item.name != "__init__"]
    symbols = tuple(f"{named.target}.{method}" for method in methods) or (named.target,)
    path = named.path.absolute()
    asked = Probing(
        path=str(path),
        text=importable(named.source, [named.node.lineno]),
        target=named.target,
        symbols=symbols,
        hints=_hints(named, settings),
        declared=tuple(each for each in settings.harness if each.belongs_to(path)),
    )
    try:
        with Validator(devices=devices, require=require, timeout=timeout) as validator:
            probed = validator.probe(asked)
    except (TorchMissing, DeviceMissing) as error:
        raise ProbingError(str(error)) from error
    if not probed.observations:
        stub = f"\n{_HARNESS}\n\n{probed.stub.rstrip()}" if probed.stub else ""
        raise ProbingError(f"{named.path}: {named.target}: {probed.reason}{stub}")
    return probed


def show(named: Named, probed: Probed, kind: str) -> str:
    """The report: JSON, or how it was run and a line for each property; on several devices, a table for each."""
    if kind == "json":
        from mha_lint.report import records

        found = {device: [records.observed(each) for each in seen] for device, seen in probed.observations.items()}
        shapes = list(probed.shapes)
        return records.written(
            records.Probe(records.VERSION, str(named.path), named.target, probed.level, probed.how, shapes, found)
        )
    given = f", inputs {', '.join(probed.shapes)}" if probed.shapes else ""
    lines: list[str] = []
    for device, seen in probed.observations.items():
        heading = f"{named.path}: {probed.how}; float32 on {device}, eval mode{given}"
        rows = [("property", "outcome", ""), *((each.probe, each.outcome, each.words) for each in seen)]
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        table = [f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}".rstrip() for row in rows]
        lines += [*([""] if lines else []), heading, "", *table]
    return "\n".join(lines)


# --- where a name is defined --------------------------------------------------------------------------------------


def _module(name: str) -> Path | None:
    """The file of a module, from here or Python's path, with no package imported on the way."""
    parts = name.split(".")
    roots = [Path(), Path("src"), *(Path(entry) for entry in sys.path if entry)]
    try:
        top = importlib.util.find_spec(parts[0])
    except (ImportError, ValueError):  # ValueError: it is a module that was made, not found
        top = None
    if top is not None:  # a package installed in an editable way may be on no path
        roots += [Path(folder).parent for folder in top.submodule_search_locations or ()]
    for root in roots:
        for file in (root.joinpath(*parts).with_suffix(".py"), root.joinpath(*parts, "__init__.py")):
            if file.is_file():
                return file
    return None


def _defined(path: Path, target: str, hops: int) -> Named:
    """Find where ``target`` is defined: in the file itself, or in the one that it is imported from."""
    try:
        source = read_source(path)
        tree = parse(source.text)
    except SourceError as error:
        raise ProbingError(str(error)) from error
    except (SyntaxError, ValueError) as error:
        raise ProbingError(f"{path}: {error}") from error
    definitions = dict(_definitions(tree, ""))
    node = definitions.get(target)
    if node is not None:
        return Named(path, target, source, node)
    for module, level, original in _imports(tree, target.partition(".")[0]):
        folder = path.parent.joinpath(*[".."] * (level - 1)) if level else None
        found = _module(module) if folder is None else _within(folder, module)
        if found is not None and hops:
            try:
                return _defined(found, ".".join([original, *target.split(".")[1:]]), hops - 1)
            except ProbingError:
                continue  # another line may import it too
    hint = close_match(target, list(definitions))
    raise ProbingError(f"{path}: it defines no class or function {target}{hint}")


def _within(folder: Path, module: str) -> Path | None:
    base = folder.joinpath(*module.split(".")) if module else folder
    files = (base.with_suffix(".py"), base / "__init__.py") if module else (base / "__init__.py",)
    return next((file for file in files if file.is_file()), None)


def _definitions(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield f"{prefix}{child.name}", child
            yield from _definitions(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.FunctionDef) and not prefix:
            yield child.name, child
        elif isinstance(child, (ast.If, ast.Try)):
            yield from _definitions(child, prefix)


def _imports(tree: ast.Module, name: str) -> Iterator[tuple[str, int, str]]:
    """The modules that may give ``name``, with how many dots stand before them, and its name there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.name == "*" or (alias.asname or alias.name) == name:
                    yield node.module or "", node.level, name if alias.name == "*" else alias.name


def _hints(named: Named, settings: Settings) -> dict[str, tuple[str | int | None, ...]]:
    """Return the shapes of the inputs, as far as the model knows them."""
    from mha_lint.linter import modelled
    from mha_lint.model.hints import input_hints

    try:
        model, _ = modelled(named.source, settings)
    except SourceError:
        return {}
    symbol = f"{named.target}.forward" if isinstance(named.node, ast.ClassDef) else named.target
    return dict(input_hints(model, symbol))
