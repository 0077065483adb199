"""The garbage collector while files are linted."""

import gc
from pathlib import Path
from typing import Any

import pytest

from mha_lint.configuration import Configuration
from mha_lint.files import decode
from mha_lint.model import attention
from mha_lint.runner import lint_one
from mha_lint.settings import Settings
from mha_lint.syntax.module import Module

TEXT = "import torch\n\n\ndef attention(q, k, v):\n    return (q @ k.transpose(-2, -1)).softmax(-1) @ v\n"


@pytest.mark.parametrize(("before", "within"), [(700, 50_000), (60_000, 60_000), (0, 0)])
def test_syntax_trees_are_seldom_searched_for_garbage_while_a_file_is_linted(
    before: int, within: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    thresholds: list[int] = []
    analyse = attention.analyse

    def watched(module: Module, **options: Any) -> attention.FileModel:
        thresholds.append(gc.get_threshold()[0])
        return analyse(module, **options)

    monkeypatch.setattr(attention, "analyse", watched)
    usual = gc.get_threshold()
    try:
        gc.set_threshold(before)
        result = lint_one(decode(Path("module.py"), TEXT.encode()), Configuration(Settings()), None)
        assert not result.error
        assert thresholds == [within]
        assert gc.get_threshold()[0] == before
    finally:
        gc.set_threshold(*usual)
