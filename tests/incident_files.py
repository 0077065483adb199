"""Public reports of wrong attention code, each rebuilt small in ``tests/incidents``, and how one is linted and run.

A folder is named for its report: owner, repository and number. It holds

- ``bad/``: the code with the mistake, laid out as the reported code was: one file, a package, or a notebook;
- ``good/``: those of its files that a right mend changes;
- ``check.py``: a function ``wrong(load)``, where ``load(name)`` imports a module of the code. It tries in torch whether
  the mistake is there.

A comment ``# expect: CODE`` marks each row where a finding must be. Where the code that is wrong is spread over several
places, ``# or here: CODE`` marks others of them: a finding at one of these will do. Reports on notebooks lie in
``notebooks/``.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import shutil
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INCIDENTS = Path(__file__).parent / "incidents"
NOTEBOOKS = "notebooks"
_EXPECT = re.compile(r"# expect: (MHA\d{3})")
_OR_HERE = re.compile(r"# or here: (MHA\d{3})")


@dataclass(frozen=True)
class Mark:
    """Where a finding must be: a file, relative to the code's folder, and a row, or a row of a cell, from 1."""

    code: str
    file: str
    cell: int | None
    row: int


@dataclass(frozen=True)
class Incident:
    """One rebuilt report."""

    folder: Path
    marks: tuple[Mark, ...]
    alternatives: tuple[Mark, ...]

    @property
    def reference(self) -> str:
        """Owner, repository and number, joined by dashes."""
        return self.folder.name

    @property
    def files(self) -> tuple[str, ...]:
        """The files of its code, relative to the code's folder."""
        bad = self.folder / "bad"
        return tuple(path.relative_to(bad).as_posix() for path in _code_in(bad))

    @property
    def form(self) -> str:
        """One file, several files or a notebook. Empty files, such as ``__init__.py``, do not count."""
        if self.folder.parent.name == NOTEBOOKS:
            return "notebook"
        full = [name for name in self.files if (self.folder / "bad" / name).stat().st_size]
        return "one file" if len(full) == 1 else "several files"


def incidents() -> list[Incident]:
    """All incidents, sorted by reference."""
    folders = [path.parent for path in INCIDENTS.rglob("check.py")]
    return sorted((_read(folder) for folder in folders), key=lambda incident: incident.reference.lower())


def write(incident: Incident, to: Path, *, mended: bool) -> Path:
    """Copy the code of an incident into the folder ``to``, with the mend or without it."""
    shutil.copytree(incident.folder / "bad", to)
    if mended:
        shutil.copytree(incident.folder / "good", to, dirs_exist_ok=True)
    return to


def found(incident: Incident, findings: list[dict[str, Any]], code: Path) -> bool:
    """Every mark, or one of the alternatives, has a finding. ``findings`` are those of the JSON report."""
    if any(_has_finding(mark, findings, code) for mark in incident.alternatives):
        return True
    return all(_has_finding(mark, findings, code) for mark in incident.marks)


def is_wrong(incident: Incident, code: Path) -> bool:
    """Run the check of an incident on the code in a folder."""
    import torch

    specification = importlib.util.spec_from_file_location("incident_check", incident.folder / "check.py")
    assert specification is not None and specification.loader is not None
    check = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(check)
    torch.manual_seed(0)
    with _importable(code):
        return bool(check.wrong(lambda name: _load(name, code)))


def _has_finding(mark: Mark, findings: list[dict[str, Any]], code: Path) -> bool:
    """A finding of the code that is marked covers the row."""
    return any(_covers(finding, mark, code) for finding in findings)


def _covers(finding: dict[str, Any], mark: Mark, code: Path) -> bool:
    if finding["code"] != mark.code or finding["cell"] != mark.cell:
        return False
    if Path(finding["filename"]).resolve() != (code / mark.file).resolve():
        return False
    return finding["location"]["row"] <= mark.row <= finding["end_location"]["row"]


def _read(folder: Path) -> Incident:
    return Incident(folder, tuple(_marks(folder, _EXPECT)), tuple(_marks(folder, _OR_HERE)))


def _marks(folder: Path, pattern: re.Pattern[str]) -> Iterator[Mark]:
    for path in _code_in(folder / "bad"):
        name = path.relative_to(folder / "bad").as_posix()
        for cell, text in _texts(path):
            for row, line in enumerate(text.splitlines(), 1):
                for code in pattern.findall(line):
                    yield Mark(code, name, cell, row)


def _texts(path: Path) -> list[tuple[int | None, str]]:
    """The text of a module, or those of a notebook's cells with their numbers."""
    if path.suffix != ".ipynb":
        return [(None, path.read_text(encoding="utf-8"))]
    return [(number, "".join(cell["source"])) for number, cell in enumerate(_cells(path), 1)]


def _cells(notebook: Path) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return cells


def _code_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".ipynb"))


def _load(name: str, code: Path) -> types.ModuleType:
    notebook = code / f"{name}.ipynb"
    return _run_notebook(notebook) if notebook.exists() else importlib.import_module(name)


def _run_notebook(path: Path) -> types.ModuleType:
    """Run the code cells of a notebook as one module, without the lines that are for IPython alone."""
    lines = []
    for cell in _cells(path):
        if cell["cell_type"] == "code":
            lines.extend("".join(cell["source"]).splitlines())
    text = "\n".join("" if line.startswith(("%", "!")) else line for line in lines)
    module = types.ModuleType(path.stem)
    exec(compile(text, str(path), "exec"), module.__dict__)
    return module


@contextmanager
def _importable(code: Path) -> Iterator[None]:
    """Modules of the folder can be imported, and are forgotten afterwards: other incidents have some of these names."""
    known = set(sys.modules)
    sys.path.insert(0, str(code))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(code))
        for name in set(sys.modules) - known:
            if _lies_in(sys.modules[name], code):
                del sys.modules[name]


def _lies_in(module: types.ModuleType, code: Path) -> bool:
    """The module, or the folder that is a package without a file, lies in the folder."""
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    return any(place is not None and Path(place).is_relative_to(code) for place in places)
