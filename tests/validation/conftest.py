"""One validator, and so one import of torch, for all tests of validation."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mha_lint.declared import Declared
from mha_lint.findings import Expected, Relation, Verdict
from mha_lint.validation import Job, Validator

Check = Callable[..., Verdict]


@pytest.fixture(scope="session")
def validator() -> Iterator[Validator]:
    pytest.importorskip("torch")
    with Validator(devices=("cpu",), timeout=60.0) as running:
        yield running


@pytest.fixture(scope="session")
def cuda() -> None:
    """A CUDA device: continuous integration has none, so that tests which need one are run where there is one."""
    if not pytest.importorskip("torch").cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture(scope="session")
def cuda_validator(cuda: None) -> Iterator[Validator]:
    with Validator(devices=("cpu", "cuda"), timeout=120.0) as running:
        yield running


@pytest.fixture
def check(validator: Validator, tmp_path: Path) -> Check:
    """Validate the replacement of ``old`` by ``new`` in ``source``, which is written to a file as a project has it.

    Lines that hold ``flagged``, or for *repaired* the first one of ``old``, are the flagged ones. With ``alone``, the
    changed statements may be run alone where nothing else can be.
    """

    def run(
        source: str,
        old: str,
        new: str,
        symbol: str,
        relation: Relation = "equivalent",
        *,
        file: str = "attention.py",
        added: tuple[str, ...] = (),
        identity: tuple[str, ...] = (),
        declared: tuple[Declared, ...] = (),
        probes: tuple[str, ...] = (),
        agree: str = "",
        expected: Expected = "view",
        flagged: str = "",
        using: Validator | None = None,
        alone: bool = False,
    ) -> Verdict:
        before = textwrap.dedent(source)
        assert before.count(old) >= 1, "the test's own edit does not apply"
        after = before.replace(old, new)
        if not alone:  # texts outside of functions, which never run: the changed statements are not all that changes
            before, after = f"{before}\n'before'\n", f"{after}\n'after'\n"
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(before)
        rows = [row for row, line in enumerate(before.splitlines(), 1) if (flagged or old.splitlines()[0]) in line]
        rows = rows if relation == "repaired" or flagged else []
        job = Job(
            str(path), before, after, (symbol,), relation, tuple(rows), added, identity,
            declared=declared, probes=probes, agree=agree, expected=expected,
        )  # fmt: skip
        return (using or validator).validate(job)

    return run
