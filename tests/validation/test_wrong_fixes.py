"""No wrong fix is accepted, of any kind; tests/bench/wrong_fixes.py tries all of them on all modules."""

from __future__ import annotations

from pathlib import Path

import pytest

from mha_lint.validation import Job, Validator

from .wrong_fixes import Rewrite, controls, rewrites

pytestmark = pytest.mark.slow
SOURCE = "packed"


def _id(rewrite: Rewrite) -> str:
    return f"{rewrite.source}, {rewrite.kind}"


def _verdict(rewrite: Rewrite, validator: Validator, folder: Path) -> str:
    path = folder / "attention.py"
    path.write_text(rewrite.before)
    return validator.validate(Job(str(path), rewrite.before, rewrite.after, (rewrite.symbol,), "equivalent")).verdict


@pytest.mark.parametrize("rewrite", [each for each in rewrites() if each.source == SOURCE], ids=_id)
def test_a_wrong_fix_is_not_accepted(rewrite: Rewrite, validator: Validator, tmp_path: Path) -> None:
    assert _verdict(rewrite, validator, tmp_path) in ("refuted", "not exercised")


def test_a_constructors_flag_is_tried_both_ways(validator: Validator, tmp_path: Path) -> None:
    hard_coded = [each for each in rewrites() if each.kind.startswith("bias added")]
    assert [_verdict(each, validator, tmp_path) for each in hard_coded] == ["refuted"] * len(hard_coded) != []


@pytest.mark.parametrize("rewrite", [each for each in controls() if each.source == SOURCE], ids=_id)
def test_a_harmless_one_is(rewrite: Rewrite, validator: Validator, tmp_path: Path) -> None:
    assert _verdict(rewrite, validator, tmp_path) == "validated"


def test_there_are_hundreds_of_them() -> None:
    assert len(list(rewrites())) >= 200
