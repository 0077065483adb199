"""What is shown while someone types is what the command finds: the parts of a file against the whole."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from mha_lint.files import Source, SourceError, decode, read_source
from mha_lint.findings import Finding
from mha_lint.linter import Look, looked
from mha_lint.lsp.parts import Parts
from mha_lint.settings import Settings

CORPUS = Path(__file__).parents[1] / "corpus"
SETTINGS = Settings(select=("ALL",))
EDITS = 8  # of one file
FILES = sorted(CORPUS.rglob("*.py"))


def _told(findings: tuple[Finding, ...]) -> list[tuple[object, ...]]:
    return sorted((f.location, f.end_location, f.code, f.message, f.severity, f.noqa_row) for f in findings)


def _whole(path: Path, text: str) -> list[tuple[object, ...]] | None:
    try:
        look = looked(decode(path, text.encode()), SETTINGS)
    except SourceError:
        return None
    return [] if look is None else _told(look.without_fixes().findings)


def _edited(text: str, randomly: random.Random) -> str:
    """A letter, a word or a row is deleted, doubled, or put elsewhere."""
    rows = text.splitlines(keepends=True)
    row = randomly.randrange(len(rows))
    match randomly.randrange(5):
        case 0:
            del rows[row]
        case 1:
            rows.insert(row, rows[row])
        case 2:
            rows.insert(randomly.randrange(len(rows)), "\n")
        case 3:
            words = rows[row].split(" ")
            words[randomly.randrange(len(words))] = randomly.choice(rows).strip().split(" ")[0]
            rows[row] = " ".join(words) if words[-1].endswith("\n") else " ".join(words) + "\n"
        case _:
            at = randomly.randrange(len(rows[row]))
            rows[row] = rows[row][:at] + randomly.choice("x1(+.") + rows[row][at:]
    return "".join(rows)


@pytest.mark.parametrize("chunk", range(4))
def test_edits_of_a_file_give_the_findings_of_the_whole(chunk: int) -> None:
    randomly = random.Random(chunk)
    in_parts = 0
    for path in randomly.sample(FILES, 30):
        text = read_source(path).text
        parts = Parts()
        for _ in range(EDITS):
            expected = _whole(path, text)
            if expected is not None:
                found = parts.findings(decode(path, text.encode()), SETTINGS)
                in_parts += found is not None
                assert found is None or _told(found) == expected, text
                following = _edited(text, randomly)
            else:
                following = read_source(path).text  # undone
            text = following
    assert in_parts > 20


def test_only_the_part_that_changed_is_linted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    import mha_lint.lsp.parts as module

    linted: list[str] = []

    def counted(source: Source, settings: Settings, **others: Any) -> Look | None:
        linted.append(source.text)
        return looked(source, settings, **others)

    monkeypatch.setattr(module, "looked", counted)
    head = "import torch\nfrom torch import nn\n"
    first, second = (
        f"\n\nclass {name}(nn.Module):\n    def forward(self, q, k, v):\n        return (q @ k.mT).softmax(-1) @ v\n"
        for name in ("One", "Two")
    )
    parts, path = Parts(), Path("a.py")

    def find(text: str) -> int:
        linted.clear()
        found = parts.findings(decode(path, text.encode()), SETTINGS)
        assert found is not None
        assert _told(found) == _whole(path, text)
        return len(linted)

    assert find(head + first + second) == 2
    assert find(head + first + second.replace("softmax(-1)", "softmax(dim=-1)")) == 1
    assert find(head + "# a row more\n\n" + first + second) == 0
    assert find(head.replace("torch\n", "torch, math\n", 1) + first + second) == 2
    assert parts.findings(decode(path, (head + first + "\n\nclass Three(One): pass\n").encode()), SETTINGS) is None
