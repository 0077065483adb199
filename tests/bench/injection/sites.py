"""Which mistakes are planted: every site of a package, and a draw of a few a class that anybody can repeat."""

from __future__ import annotations

import ast
import hashlib
import random
import re
import subprocess
import sys
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from os import environ
from pathlib import Path
from types import ModuleType

from tests.bench.injection import (
    batch,
    cached_keys,
    devices,
    entries,
    fused,
    interfaces,
    layouts,
    lost,
    masks,
    order,
    patterns,
    results,
    rotary,
    scale,
    swapped,
    weights,
)
from tests.bench.injection.code import ATTENTION, Edit, Injection, edited, parsed
from tests.bench.injection.scope import Scope, scopes

RULES = tuple(f"MHA{number}" for number in range(101, 125))
_PARTS: tuple[tuple[re.Pattern[bytes], tuple[ModuleType, ...]], ...] = (
    (
        ATTENTION,
        (layouts, order, patterns, weights, scale, devices, masks, lost, fused, interfaces, results, swapped, entries),
    ),
    (rotary.ROTARY, (rotary, cached_keys)),
    (batch.BATCH, (batch,)),
)
_NO_LIBRARY = re.compile(r"(^|/)(tests?|testing|examples?|docs?|exporters|integrations)/|(^|/)modular_\w+\.py$")


@dataclass(frozen=True, slots=True)
class Site:
    """One injection into one file.

    ``rows`` are the rows of ``wrong`` that the injection wrote. ``digest`` is that of the class's syntax tree: copies
    of a class in several files have the same.
    """

    package: str
    path: Path
    injection: Injection
    rows: tuple[range, ...]
    digest: str

    @property
    def silent(self) -> str:
        """The reason for which the rule says nothing of it, in the words of its page; "" where it must speak."""
        return self.injection.silent

    @property
    def right(self) -> bytes:
        """The text without the mistake."""
        return edited(self.path.read_bytes(), self.injection.base)

    @property
    def wrong(self) -> bytes:
        return edited(self.path.read_bytes(), self.injection.edits)


def sites(packages: Iterable[str], rules: frozenset[str], pool: Executor) -> list[Site]:
    """Every site of the rules in the packages, in the order of places; copies of a class count once."""
    files = [(name, file) for name in packages for file in _files(folder(name))]
    found = pool.map(_sites, *zip(*files, strict=True), [rules] * len(files), chunksize=8) if files else []
    first: dict[tuple[str, str], tuple[Path, str]] = {}
    kept: list[Site] = []
    for site in (site for group in found for site in group):
        place = (site.path, site.injection.unit)
        if first.setdefault((site.digest, site.injection.rule), place) == place:
            kept.append(site)
    return kept


def drawn(found: list[Site], limit: int, seed: int) -> list[Site]:
    """At most two sites of different forms a class and rule, and at most ``limit`` classes a rule.

    The packages take turns, so that a large one leaves room for the others. Where a class has sites as it is that the
    rule must find, no mask is planted in it; classes that have some come first in their package. Sites about which the
    rule is silent are drawn like the others. Which ones is drawn by ``seed`` and by the names of file and class alone.
    """
    classes: dict[tuple[str, Path, str], list[Site]] = defaultdict(list)
    for site in found:
        classes[site.injection.rule, site.path, site.injection.unit].append(site)
    chosen: dict[str, list[_Drawn]] = defaultdict(list)
    for (rule, path, unit), here in classes.items():
        draw = random.Random(f"{seed} {rule} {path.name} {unit}")
        natural = [site for site in here if not site.injection.planted]
        is_enough = any(not site.silent for site in natural)
        pool = natural if is_enough else here
        by_form = {site.injection.form: site for site in draw.sample(pool, len(pool))}
        chosen[rule].append(_Drawn(not is_enough, draw.random(), list(by_form.values())[:2]))
    kept: list[Site] = []
    for rule in sorted(chosen):
        for each in _in_turns(chosen[rule])[: limit or None]:
            kept += each.sites
    return kept


@dataclass(frozen=True, slots=True)
class _Drawn:
    """The sites of one class that are drawn, and its place among the classes of its package."""

    late: bool
    lot: float
    sites: list[Site]


def _in_turns(classes: list[_Drawn]) -> list[_Drawn]:
    """The first class of each package, then the second of each, and so on; within a turn by lot."""
    taken: Counter[str] = Counter()
    turns: list[tuple[int, float, _Drawn]] = []
    for each in sorted(classes, key=lambda each: (each.late, each.lot)):
        package = each.sites[0].package
        turns.append((taken[package], each.lot, each))
        taken[package] += 1
    return [each for _, _, each in sorted(turns, key=lambda turn: turn[:2])]


def by_form(found: list[Site], limit: int, seed: int) -> list[Site]:
    """At most ``limit`` sites of each form of each mistake."""
    forms: dict[tuple[str, str], list[Site]] = defaultdict(list)
    for site in found:
        forms[site.injection.rule, site.injection.form].append(site)
    return [
        site
        for form, here in sorted(forms.items())
        for site in random.Random(f"{seed} {form}").sample(here, min(limit or len(here), len(here)))
    ]


def folder(name: str) -> Path:
    """An unpacked package: a path, or what pip downloads, kept in ``$XDG_CACHE_HOME/mha-lint-bench``."""
    if Path(name).exists():
        return Path(name).resolve()
    kept = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mha-lint-bench" / "sources" / name
    if not kept.exists():
        wheels = kept.with_suffix(".download")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"]
        subprocess.run([*command, str(wheels), name], check=True)
        for archive in wheels.glob("*.whl"):
            with zipfile.ZipFile(archive) as wheel:
                wheel.extractall(kept)
    return kept


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    return [file for file in sorted(source.rglob("*.py")) if not _NO_LIBRARY.search(str(file.relative_to(source)))]


def _sites(package: str, path: Path, rules: frozenset[str]) -> list[Site]:
    return sites_of(path, rules, package)


def sites_of(path: Path, rules: frozenset[str] = frozenset(RULES), package: str = "") -> list[Site]:
    """Every site of the rules in one file."""
    data = path.read_bytes()
    return [
        Site(package, path, injection, _rows(data, injection), _digest(unit))
        for unit, injection in injections_of(path, data, rules)
    ]


def injections_of(
    path: Path, data: bytes, rules: frozenset[str] = frozenset(RULES)
) -> Iterator[tuple[ast.ClassDef | ast.FunctionDef, Injection]]:
    """Every injection of the rules into the bytes of a file, with the class or function that it is written into."""
    for about, parts in _PARTS:
        code = parsed(path, data, about)
        for scope in (scope for group in scopes(code, about) for scope in group) if code else ():
            for injection in (injection for part in parts for injection in part.injections(scope)):
                if injection.rule in rules and _is_python(scope, injection):
                    yield scope.unit, injection


def _digest(unit: ast.ClassDef | ast.FunctionDef) -> str:
    """Of the syntax tree, whatever the class's model is called: ``LlamaAttention`` may be ``MistralAttention``."""
    body = "".join(ast.dump(node) for node in unit.body if not isinstance(node, ast.Expr))
    model = re.sub(r"(Self|Cross|Sdpa|Vision|Text)?(Attention\w*|Block|Rotary\w*)?$", "", unit.name)
    return hashlib.sha256((body.replace(model, "") if model else body).encode()).hexdigest()


def _is_python(scope: Scope, injection: Injection) -> bool:
    """Whether the class is Python with the mistake and without: an operand may have been in brackets."""
    start, end = scope.code.start(scope.unit), scope.code.end(scope.unit)
    unit = scope.code.data[start:end]
    texts = set()
    for edits in (injection.base, injection.edits):
        try:
            texts.add(edited(unit, tuple(Edit(each.start - start, each.end - start, each.content) for each in edits)))
        except ValueError:
            return False
    try:
        for text in texts:
            ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return len(texts) == 2


def _rows(data: bytes, injection: Injection) -> tuple[range, ...]:
    """The rows of the edited text that the edits wrote, each with the row that it starts in."""
    rows: list[range] = []
    added = 0
    for edit in sorted(injection.edits, key=lambda each: each.start):
        first = data.count(b"\n", 0, edit.start) + 1 + added
        more = edit.content.count("\n")
        rows.append(range(first, first + more + 1))
        added += more - data.count(b"\n", edit.start, edit.end)
    return tuple(rows)
