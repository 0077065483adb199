"""``--also compile,export``: a fix must not cost a module its one graph."""

from __future__ import annotations

from pathlib import Path

import pytest

from mha_lint.validation import Job, Validator

from .modules import VIT

pytest.importorskip("torch")

pytestmark = pytest.mark.slow

SPLIT = "q, k, v = qkv.unbind(0)"


def _job(folder: Path, new: str, source: str = VIT) -> Job:
    path = folder / "attention.py"
    path.write_text(source)
    after = source.replace(SPLIT, new)
    return Job(str(path), source, after, ("Attention.forward",), "equivalent", also=("compile", "export"))


def test_both_are_tried_and_listed(validator: Validator, tmp_path: Path) -> None:
    verdict = validator.validate(_job(tmp_path, "q, k, v = qkv[0], qkv[1], qkv[2]"))
    assert verdict.verdict == "validated", verdict.reason
    assert [trial.detail for trial in verdict.trials][-2:] == ["torch.compile", "torch.export"]
    assert all(trial.outcome == "agree" for trial in verdict.trials)


def test_a_fix_that_breaks_the_graph_is_refuted(validator: Validator, tmp_path: Path) -> None:
    broken = SPLIT + "; __import__('torch')._dynamo.graph_break()"
    verdict = validator.validate(_job(tmp_path, broken))
    assert verdict.verdict == "refuted"
    assert "torch.compile: only after raises" in verdict.reason


def test_it_is_noticed_though_the_file_imports_what_captures_graphs(validator: Validator, tmp_path: Path) -> None:
    source = "import torch._dynamo\n" + VIT
    verdict = validator.validate(_job(tmp_path, SPLIT + "; torch._dynamo.graph_break()", source))
    assert verdict.verdict == "refuted"
    assert "torch.compile: only after raises" in verdict.reason


def test_it_makes_up_for_no_trial(validator: Validator, tmp_path: Path) -> None:
    """In eval mode this runs under torch.compile alone, so no trial in eval mode counts."""
    source = VIT.replace(SPLIT, "assert self.training or __import__('torch').compiler.is_compiling()\n        " + SPLIT)
    verdict = validator.validate(_job(tmp_path, "q, k, v = qkv[0], qkv[1], qkv[2]", source))
    assert verdict.verdict == "not exercised"
    assert not any(trial.detail.startswith("torch.") for trial in verdict.trials)


def test_what_did_not_work_before_cannot_be_broken(validator: Validator, tmp_path: Path) -> None:
    source = VIT.replace(SPLIT, "__import__('torch')._dynamo.graph_break()\n        " + SPLIT)
    verdict = validator.validate(_job(tmp_path, "q, k, v = qkv[0], qkv[1], qkv[2]", source))
    assert verdict.verdict == "validated", verdict.reason
    assert any("torch.compile: before does not work" in trial.detail for trial in verdict.trials)


def test_also_compile_works_on_code_that_is_compiled_already(validator: Validator, tmp_path: Path) -> None:
    source = VIT.replace("    def forward(self, x", "    @torch.compile(fullgraph=True)\n    def forward(self, x", 1)
    assert source != VIT
    verdict = validator.validate(_job(tmp_path, "q, k, v = qkv[0], qkv[1], qkv[2]", source))
    assert verdict.verdict == "validated", verdict.reason
    assert "torch.compile works as before" in verdict.reason
    broken = validator.validate(_job(tmp_path, SPLIT + "; __import__('torch')._dynamo.graph_break()", source))
    assert broken.verdict == "refuted"
    assert "torch.compile: only after raises" in broken.reason
