"""ACM001 fires where its page says, and nowhere else."""

from pathlib import Path

import pytest
from acme_attention.mask_by_place import MaskByPlace
from mha_lint.files import decode
from mha_lint.linter import lint
from mha_lint.settings import Settings


def codes(text: str) -> list[str]:
    source = decode(Path("example.py"), text.encode())
    return [finding.code for finding in lint(source, Settings(select=("ACM001",))).findings]


@pytest.mark.parametrize("text", MaskByPlace.invalid)
def test_it_fires_on_its_invalid_examples(text: str) -> None:
    assert codes(text) == ["ACM001"]


@pytest.mark.parametrize("text", MaskByPlace.valid)
def test_it_is_silent_on_its_valid_examples(text: str) -> None:
    assert codes(text) == []
