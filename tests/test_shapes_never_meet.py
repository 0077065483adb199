"""MHA124 says that an operation raises for all sizes above 1: torch does what the rule says."""

from __future__ import annotations

import re
from typing import Any

import pytest
from corpus_files import CORPUS

TEXT = (CORPUS / "shapes" / "masks.py").read_text("utf-8")
NAMES = [name for name in re.findall(r"^class (\w+)\(", TEXT, re.MULTILINE) if name != "Base"]
NEEDS_EQUAL = {"Unsplit", "OfTheLayer"}  # wrong for a batch of one entry as well: the layer asks for the very size
WITHOUT_MASK = {"Shared", "Unsplit"}


def run(name: str, entries: int, tokens: int) -> None:
    import torch

    namespace: dict[str, Any] = {"__name__": "masks"}
    exec(compile(TEXT, "masks.py", "exec"), namespace)
    width = tokens if name == "InPlace" else 1
    mask = torch.zeros(entries, tokens * width) if name == "InPlace" else torch.ones(entries, tokens).bool()
    module = namespace[name](32, 4)
    given = () if name in WITHOUT_MASK else (mask,)
    module(torch.randn(entries, tokens, 32), *given)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("entries", "tokens"), [(2, 5), (3, 7)])
def test_a_class_that_is_flagged_raises_for_sizes_above_1(name: str, entries: int, tokens: int) -> None:
    pytest.importorskip("torch")
    with pytest.raises(RuntimeError, match=r"size|shape|expand|must match"):
        run(name, entries, tokens)


@pytest.mark.parametrize("name", [each for each in NAMES if each not in NEEDS_EQUAL])
def test_it_runs_for_a_batch_of_one_entry(name: str) -> None:
    pytest.importorskip("torch")
    run(name, 1, 5)
