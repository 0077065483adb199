"""The corpus of attention modules in ``tests/corpus``: what their comments promise, and running them on real torch.

Each file is ordinary PyTorch code. Two kinds of comment make it a test.

On a row: ``# expect: MHA001``, where that finding must be. A file with no ``expect`` is a clean counterpart.

In the head, before the first statement: ``# run: EXPRESSION``, evaluated in its namespace; ``# not run: reason``;
``# stub: NAMES``, imports that aren't installed; ``# fix: none (reason)``, reported but deliberately not rewritten;
``# fix: unsafe``; ``# select: CODE``, a rule that is off by default; ``# not exercised: reason``, for a fix that no
harness can execute.
"""

from __future__ import annotations

import re
import sys
import types
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mha_lint.settings import Settings

CORPUS = Path(__file__).parent / "corpus"
SUMMED_OTHERWISE = {
    "MHA201",
    "MHA202",
    "MHA203",
}  # after their fixes another kernel adds the same numbers, in another order
_EXPECT = re.compile(r"#\s*expect:\s*(MHA\d{3})")
_EXCUSED = re.compile(r"#\s*noqa: MHA")
_HEAD = re.compile(r"#\s*(run|not run|stub|fix|not exercised|select):\s*(.+)")


@dataclass(frozen=True)
class CorpusFile:
    """One corpus file and what its comments promise. ``expected`` holds (code, row) in the order of rows, from 1."""

    path: Path
    text: str
    expected: tuple[tuple[str, int], ...]
    excused: frozenset[int]
    head: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """Folder and stem, such as ``view/nanogpt``."""
        return f"{self.path.parent.name}/{self.path.stem}"

    def notes(self, kind: str) -> tuple[str, ...]:
        """The values of all head comments of that kind."""
        return tuple(value for name, value in self.head if name == kind)


@dataclass(frozen=True)
class Execution:
    """What one ``# run:`` did: the rows whose ``.view`` torch refused, and the value of the expression."""

    refused: frozenset[int]
    value: Any


def corpus() -> list[CorpusFile]:
    """All corpus files, sorted by path."""
    return [_read(path) for path in sorted(CORPUS.rglob("*.py"))]


@lru_cache(maxsize=1)
def _about_speed() -> dict[Path, set[str]]:
    """The rules about speed that the marks of each folder name."""
    codes: dict[Path, set[str]] = {}
    for file in corpus():
        codes.setdefault(file.path.parent, set()).update(code for code, _ in file.expected if code.startswith("MHA2"))
    return codes


def settings_for(file: CorpusFile) -> Settings:
    """The settings under which a file is linted.

    Most code is there for its mistakes, and attends by hand. Of the rules about speed, it is asked those alone that
    the marks in its folder name.
    """
    speed = sorted(_about_speed().get(file.path.parent, ()))
    return Settings(
        unsafe_fixes="unsafe" in file.notes("fix"), extend_select=(*file.notes("select"), *speed), ignore=("MHA2",)
    )


def one_of_each_folder(files: list[CorpusFile]) -> frozenset[str]:
    """The names of the first file of each folder, and so of each rule: what a quick look at the corpus looks at."""
    first: dict[Path, str] = {}
    for file in files:
        first.setdefault(file.path.parent, file.name)
    return frozenset(first.values())


def _read(path: Path) -> CorpusFile:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    expected = tuple((code, row) for row, line in enumerate(lines, 1) for code in _EXPECT.findall(line))
    excused = frozenset(row for row, line in enumerate(lines, 1) if _EXCUSED.search(line))
    head = []
    for line in lines:
        if not line.startswith("#"):
            break
        if match := _HEAD.match(line):
            head.append((match[1], match[2]))
    return CorpusFile(path, text, expected, excused, tuple(head))


def execute(file: CorpusFile, text: str, expression: str) -> Execution:
    """Execute ``text`` as a module and evaluate ``expression`` in it, with a fixed seed.

    A view that torch refuses is recorded and replaced by ``reshape``, so that the run goes on to the next one.
    Any other exception is raised.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    refused: set[int] = set()
    filename = str(file.path)

    class RecordRefusedViews(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            try:
                return func(*args, **(kwargs or {}))
            except RuntimeError as error:
                if func is not torch.Tensor.view or "view size is not compatible" not in str(error):
                    raise
                frame = sys._getframe(1)
                while frame.f_code.co_filename != filename:
                    assert frame.f_back is not None, "a view was refused outside the corpus file"
                    frame = frame.f_back
                refused.add(frame.f_lineno)
                return torch.Tensor.reshape(*args, **(kwargs or {}))

    stubs = {name: _stub(name) for names in file.notes("stub") for name in names.split()}
    module = types.ModuleType(f"corpus_{file.path.stem}")
    module.__file__ = filename
    added = {**stubs, module.__name__: module}
    assert not added.keys() & sys.modules.keys(), "a corpus file must not shadow a module that is loaded"
    sys.modules.update(added)  # dataclasses look their module up
    try:
        exec(compile(text, filename, "exec"), module.__dict__)
        torch.manual_seed(0)
        with RecordRefusedViews():
            value = eval(expression, module.__dict__ | {"torch": torch})
    finally:
        for name in added:
            del sys.modules[name]
    return Execution(frozenset(refused), value)


def _stub(name: str) -> types.ModuleType:
    """A package whose every attribute can be imported, and none of them used."""
    stub = types.ModuleType(name)
    stub.__path__ = []
    vars(stub)["__getattr__"] = lambda attribute: object()
    return stub
