"""Evidence speaks of the files that the executed code was made of, and of no others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mha_lint.declared import Declared
from mha_lint.validation import Job, Validator

from .modules import VIT

pytest.importorskip("torch")

pytestmark = pytest.mark.slow

SPLIT = "q, k, v = qkv.unbind(0)"
INDEXED = "q, k, v = qkv[0], qkv[1], qkv[2]"


@pytest.fixture
def keeping(tmp_path: Path) -> Iterator[Validator]:
    """A validator that keeps its evidence."""
    with Validator(devices=("cpu",), cache_dir=tmp_path / "cache") as validator:
        yield validator


def job(path: Path, statement: str, declared: tuple[Declared, ...] = ()) -> Job:
    """A right rewrite of a file at ``path`` that begins with ``statement``, and that cannot be run without its file."""
    before = VIT.replace("import torch\n", f"import torch\n{statement}\n", 1)
    path.parent.mkdir(exist_ok=True)
    path.write_text(before)
    after = before.replace(SPLIT, INDEXED) + "'after'\n"
    return Job(str(path), before, after, ("Attention.forward",), "equivalent", declared=declared)


def package(folder: Path) -> Path:
    """A package with a sibling that imports another one."""
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "deep.py").write_text("FACTOR = 1.0\n")
    (folder / "util.py").write_text("from .deep import FACTOR\n")
    return folder


@pytest.mark.parametrize("changed", ["util.py", "deep.py"])
def test_a_changed_sibling_has_the_rewrite_executed_again(keeping: Validator, tmp_path: Path, changed: str) -> None:
    folder = package(tmp_path / "pkg")
    question = job(folder / "attn.py", "from .util import FACTOR")
    assert keeping.validate(question).verdict == "validated"
    assert keeping.validate(question).cached
    (folder / changed).write_text("raise RuntimeError('broken')\n")
    verdict = keeping.validate(question)
    assert (verdict.verdict, verdict.cached) == ("not exercised", False)
    assert "broken" in verdict.reason


def test_a_sibling_that_came_from_compiled_code_counts_as_well(keeping: Validator, tmp_path: Path) -> None:
    import py_compile

    folder = package(tmp_path / "pkg")
    py_compile.compile(str(folder / "util.py"))
    question = job(folder / "attn.py", "from .util import FACTOR")
    assert keeping.validate(question).verdict == "validated"
    (folder / "util.py").write_text("FACTOR = 1.0  # another text\n")
    assert not keeping.validate(question).cached


def test_a_file_that_only_got_another_time_is_the_same(keeping: Validator, tmp_path: Path) -> None:
    folder = package(tmp_path / "pkg")
    question = job(folder / "attn.py", "from .util import FACTOR")
    assert keeping.validate(question).verdict == "validated"
    os.utime(folder / "util.py", ns=(1, 1))
    assert keeping.validate(question).cached


def test_a_file_that_nothing_imports_may_change(keeping: Validator, tmp_path: Path) -> None:
    folder = package(tmp_path / "pkg")
    (folder / "other.py").write_text("X = 1\n")
    question = job(folder / "attn.py", "from .util import FACTOR")
    assert keeping.validate(question).verdict == "validated"
    (folder / "other.py").write_text("X = 2\n")
    assert keeping.validate(question).cached


def test_a_file_of_data_that_the_code_reads_counts(keeping: Validator, tmp_path: Path) -> None:
    table = tmp_path / "table.json"
    table.write_text("[1]")
    question = job(tmp_path / "attn.py", f"import json; TABLE = json.load(open({str(table)!r}))")
    assert keeping.validate(question).verdict == "validated"
    assert keeping.validate(question).cached
    table.write_text("[2]")
    assert not keeping.validate(question).cached


def test_an_optional_module_that_appears_has_the_rewrite_executed_again(keeping: Validator, tmp_path: Path) -> None:
    folder = package(tmp_path / "pkg")
    question = job(folder / "attn.py", "try:\n    from .fast import kernel\nexcept ImportError:\n    kernel = None")
    assert keeping.validate(question).verdict == "validated"
    assert keeping.validate(question).cached
    (folder / "fast.py").write_text("kernel = 1\n")
    assert not keeping.validate(question).cached


def test_the_file_of_a_declared_harness_counts(keeping: Validator, tmp_path: Path) -> None:
    harness = tmp_path / "harness_of_this_test.py"
    harness.write_text("def make(cls):\n    return cls(32)\n")
    declared = Declared("attn", "Attention", factory="harness_of_this_test:make")
    question = job(tmp_path / "attn.py", "", (declared,))
    assert keeping.validate(question).harness == "declared"
    assert keeping.validate(question).cached
    harness.write_text("def make(cls):\n    raise ValueError('no more')\n")
    verdict = keeping.validate(question)
    assert (verdict.verdict, verdict.cached) == ("not exercised", False)


def test_a_refutation_by_a_crash_knows_its_files_too(keeping: Validator, tmp_path: Path) -> None:
    folder = package(tmp_path / "pkg")
    right = job(folder / "attn.py", "from .util import FACTOR")
    crash = f"{SPLIT}; import os; os._exit(0)"
    question = Job(right.path, right.before, right.before.replace(SPLIT, crash), right.symbols, right.relation)
    assert keeping.validate(question).verdict == "refuted"
    assert keeping.validate(question).cached
    (folder / "util.py").write_text("FACTOR = 2.0\n")
    assert not keeping.validate(question).cached


def test_within_one_run_a_rewrite_meets_its_sibling_as_it_is_now(keeping: Validator, tmp_path: Path) -> None:
    folder = package(tmp_path / "pkg")
    question = job(folder / "attn.py", "from .util import FACTOR")
    assert keeping.validate(question).verdict == "validated"
    (folder / "util.py").write_text("FACTOR = 1.0\nraise RuntimeError('changed meanwhile')\n")
    another = job(folder / "second.py", "from .util import FACTOR")
    assert "changed meanwhile" in keeping.validate(another).reason
