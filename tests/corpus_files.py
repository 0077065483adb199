"""The corpus of attention modules in ``tests/corpus``: its marks, and running it on real torch.

Each file is ordinary PyTorch code. Two kinds of comment make it a test:

- a trailing ``# expect: MHA001`` on the row where that finding must be (several codes: several marks);
- in the head, before the first statement: ``# run: EXPRESSION`` (evaluated in the file's namespace), ``# stub: NAMES``
  (imports that aren't installed), ``# fix: none (reason)`` (reported, deliberately not rewritten), ``# fix: unsafe``.

A file with no ``expect`` is a clean counterpart.
"""

from __future__ import annotations

import re
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).parent / "corpus"
EXPECT = re.compile(r"#\s*expect:\s*(MHA\d{3})")
HEAD = re.compile(r"#\s*(run|stub|fix|not run|not exercised|raises):\s*(.+)")


@dataclass(frozen=True)
class CorpusFile:
    """One corpus file, with what its comments say about it."""

    path: Path
    text: str
    expected: tuple[tuple[str, int], ...]  # (code, row), rows from 1, in the order of rows
    head: tuple[tuple[str, str], ...]  # (kind, value)

    @property
    def name(self) -> str:
        """Folder and stem, such as ``view/nanogpt``."""
        return f"{self.path.parent.name}/{self.path.stem}"

    def notes(self, kind: str) -> tuple[str, ...]:
        """The values of all head comments of that kind."""
        return tuple(value for name, value in self.head if name == kind)


def read_corpus_file(path: Path) -> CorpusFile:
    """Read one corpus file and its marks."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    expected = tuple((code, row) for row, line in enumerate(lines, 1) for code in EXPECT.findall(line))
    head = []
    for line in lines:
        if not line.startswith("#"):
            break
        if match := HEAD.match(line):
            head.append((match[1], match[2]))
    return CorpusFile(path, text, expected, tuple(head))


def corpus() -> list[CorpusFile]:
    """All corpus files, sorted by path."""
    return [read_corpus_file(path) for path in sorted(CORPUS.rglob("*.py"))]


def failing_view_rows(file: CorpusFile, text: str, expression: str) -> set[int]:
    """Evaluate ``expression`` in ``text`` executed as a module; return the rows whose ``.view`` real torch refused.

    A refused view is recorded and replaced by ``reshape``, so that the run goes on to the next one.
    Any other exception is raised.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    rows: set[int] = set()
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
                rows.add(frame.f_lineno)
                return torch.Tensor.reshape(*args, **(kwargs or {}))

    stubs = {name: _stub(name) for names in file.notes("stub") for name in names.split()}
    module = types.ModuleType(file.path.stem)
    module.__file__ = filename
    saved = {name: sys.modules.get(name) for name in (*stubs, module.__name__)}
    sys.modules.update(stubs, **{module.__name__: module})  # dataclasses look their module up
    try:
        exec(compile(text, filename, "exec"), module.__dict__)
        torch.manual_seed(0)
        with RecordRefusedViews():
            eval(expression, module.__dict__ | {"torch": torch})
    finally:
        for name, previous in saved.items():
            if previous is None:
                del sys.modules[name]
            else:
                sys.modules[name] = previous
    return rows


def _stub(name: str) -> types.ModuleType:
    """A module that gives an object for any name, and whose objects can't be used."""
    stub = types.ModuleType(name)
    stub.__path__ = []  # a package, so that submodules import
    stub.__getattr__ = lambda attribute: object()  # type: ignore[method-assign]
    return stub
