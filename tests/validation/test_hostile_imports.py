"""What a file does while it is imported costs neither more time than it must, nor the truth of a verdict."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from mha_lint.validation import Job, Validator

from .modules import VIT

pytest.importorskip("torch")

pytestmark = pytest.mark.slow

SPLIT = "q, k, v = qkv.unbind(0)"
INDEXED = "q, k, v = qkv[0], qkv[1], qkv[2]"


def job(path: Path, statement: str, new: str = INDEXED) -> Job:
    before = VIT.replace("import torch\n", f"import torch\n{statement}\n", 1)
    path.write_text(before)
    after = before.replace(SPLIT, new) + "'after'\n"
    return Job(str(path), before, after, ("Attention.forward",), "equivalent")


def test_an_import_that_hangs_costs_its_time_once_a_file(tmp_path: Path) -> None:
    with Validator(devices=("cpu",), timeout=4.0) as impatient:
        impatient.environment()
        path = tmp_path / "a.py"
        first = impatient.validate(job(path, "while True: pass"))
        assert first.verdict == "not exercised"
        assert "took longer than 4 s" in first.reason
        assert "the import of the file" in first.reason
        started = time.monotonic()
        for new in ("q, k, v = qkv", "q, k, v = qkv[0], qkv[1], qkv[-1]", "q, k, v = list(qkv)"):
            assert impatient.validate(job(path, "while True: pass", new)).reason == first.reason
        assert time.monotonic() - started < 3.0


def test_a_rewrite_that_hangs_when_imported_costs_no_other_fix_of_the_file(tmp_path: Path) -> None:
    with Validator(devices=("cpu",), timeout=8.0) as impatient:
        impatient.environment()
        right = job(tmp_path / "a.py", "")
        hanging = Job(right.path, right.before, right.after + "while True: pass\n", right.symbols, right.relation)
        assert impatient.validate(hanging).verdict != "validated"
        impatient._timeout = 60.0  # on a busy machine, code that ends may need more
        assert impatient.validate(right).verdict == "validated"


def test_a_file_whose_endless_import_was_mended_is_imported_again(tmp_path: Path) -> None:
    with Validator(devices=("cpu",), timeout=4.0) as impatient:
        impatient.environment()
        assert impatient.validate(job(tmp_path / "a.py", "while True: pass")).verdict == "not exercised"
        impatient._timeout = 60.0
        assert impatient.validate(job(tmp_path / "a.py", "")).verdict == "validated"
