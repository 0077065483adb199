"""``mha-lint --probe``, ``mha_lint.probe`` and the fixture ``attention_probe``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from checkout import ROOT

import mha_lint
from mha_lint.cli import main

torch = pytest.importorskip("torch")

from validation.probed_modules import WIDTH, Attention, Fused  # noqa: E402

from mha_lint.validation.probes import PROBES  # noqa: E402

SOURCE = (ROOT / "tests/validation/probed_modules.py").read_text()
WRONG = SOURCE.replace('bug: str = "", *, causal: bool = False', 'bug: str = "mask inverted", *, causal: bool = True')
NEEDY = """
import torch
from torch import nn


class Needy(nn.Module):
    def __init__(self, options):
        super().__init__()
        self.inner = nn.Linear(options.pick()["width"], 8)

    def forward(self, x):
        q = self.inner(x)
        return (q @ q.mT).softmax(-1) @ q
"""

Run = Callable[..., "tuple[int, str, str]"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in a folder with the package ``pkg``, and return status, stdout and stderr."""
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg/__init__.py").write_text("from .right import *\nfrom .wrong import Attention as Wrong\n")
    (tmp_path / "pkg/right.py").write_text(SOURCE)
    (tmp_path / "pkg/wrong.py").write_text(WRONG)
    (tmp_path / "pkg/needy.py").write_text(NEEDY)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        status = main(["--isolated", "--device", "cpu", *arguments] if "--config" not in arguments else arguments)
        out, err = capsys.readouterr()
        return status, out, err

    return call


def rows(table: str) -> dict[str, str]:
    return {line[:24].strip(): line[26:42].strip() for line in table.splitlines()[3:]}


def test_a_class_that_is_right_has_every_property_that_applies(run: Run) -> None:
    status, out, err = run("--probe", "pkg.right:Attention")
    assert (status, err) == (0, "")
    first = out.splitlines()[0]
    assert first.startswith("pkg/right.py: Attention(") and "float32 on cpu, eval mode, inputs x: (3, 5, 32)" in first
    seen = rows(out)
    of_others = ("causality", "masked key", "relative positions", "cached equals full")
    assert seen == {probe: "not applicable" if probe in of_others else "holds" for probe in PROBES}


@pytest.mark.parametrize(
    "name",
    [
        "pkg.wrong:Attention",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("pkg/wrong.py:Attention", "pkg:Wrong")),
    ],
)
def test_a_violation_is_shown_with_its_counterexample(run: Run, name: str) -> None:
    status, out, _ = run("--probe", name)
    assert status == 1
    assert rows(out)["causality"] == "violated"
    assert "changing token 4 changes the output at token 3 by " in out


@pytest.mark.slow
def test_a_name_that_is_handed_on_by_a_star_is_followed(run: Run) -> None:
    status, out, _ = run("--probe", "pkg:attend")
    assert status == 0 and out.startswith("pkg/right.py: attend(")


@pytest.mark.slow
def test_json_has_every_observation(run: Run) -> None:
    status, out, _ = run("--probe", "pkg.right:Fused", "--output-format", "json")
    report = json.loads(out)
    assert status == 0 and report["target"] == "Fused" and report["level"] == "module"
    seen = {each["probe"]: each for each in report["observations"]["cpu"]}
    assert seen["causality"]["outcome"] == "holds" and seen["causality"]["size"] is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pkg.right", "expected pkg.mod:Class or path/file.py:Class"),
        ("pkg.absent:Attention", "there is no module pkg.absent"),
        ("absent.py:Attention", "absent.py"),
        ("pkg.right:Atention", "did you mean 'Attention'?"),
    ],
)
def test_a_name_that_leads_nowhere_fails_in_one_line(run: Run, name: str, words: str) -> None:
    status, out, err = run("--probe", name)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert words in err


@pytest.mark.slow
def test_where_no_way_is_found_to_run_it_a_harness_is_sketched_and_serves(run: Run, tmp_path: Path) -> None:
    status, _, err = run("--probe", "pkg.needy:Needy")
    assert status == 2 and "no way was found to run it" in err
    assert '[tool.mha-lint.harness."pkg.needy:Needy"]' in err
    (tmp_path / "pyproject.toml").write_text(
        '[tool.mha-lint.harness."pkg.needy:Needy"]\n'
        "init = \"type('Options', (), {'pick': lambda self: {'width': 16}})()\"\n"
        'inputs = { x = ["b", "t", 16] }\n'
    )
    status, out, err = run("--probe", "pkg.needy:Needy", "--config", "pyproject.toml", "--device", "cpu")
    assert (status, err) == (1, "")
    assert rows(out)["unit score variance"] == "violated"


def test_importing_the_package_imports_no_torch() -> None:
    code = (
        "import sys, mha_lint, mha_lint.pytest_plugin, mha_lint.probing; print('torch' in sys.modules, mha_lint.probe)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("False <function probe")


def test_probe_takes_inputs_of_any_shape_or_finds_them() -> None:
    module = Attention("not scaled")
    x = torch.randn(3, 7, WIDTH)
    answers = [mha_lint.probe(module, inputs) for inputs in (x, (x,), [x], {"x": x}, None)]
    for seen in answers:
        assert [each.probe for each in seen if each.outcome == "violated"] == ["unit score variance"]
    with pytest.raises(ValueError, match="no inputs are given"):
        mha_lint.probe(lambda x: x)


def test_the_fixture_passes_and_fails_with_the_counterexample(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(probed_modules=SOURCE)
    pytester.makepyfile(
        """
        import pytest
        import torch
        from mha_lint.validation.probes import PROBES
        from probed_modules import Attention, Fused

        X = torch.randn(3, 7, 32)

        def test_right(attention_probe):
            seen = attention_probe(Attention(causal=True), X, holds=("causality", "eval determinism"))
            assert [each.outcome for each in seen] == ["holds", "holds"]

        def test_all(attention_probe):
            assert [each.probe for each in attention_probe(Fused(), (X,))] == list(PROBES)

        def test_wrong(attention_probe):
            attention_probe(Attention("dropout in eval"), {"x": X})

        def test_insists(attention_probe):
            attention_probe(Attention(), X, holds=["causality"])

        def test_unknown(attention_probe):
            with pytest.raises(ValueError, match="unknown property 'beauty'"):
                attention_probe(Attention(), X, holds=["beauty"])
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=3, failed=2)
    result.stdout.re_match_lines_random(
        [
            r".*eval determinism is violated: in eval mode two calls with the same input differ by .*",
            r".*causality is violated: changing token \d+ changes the output at token \d+ by .*",
        ]
    )


def test_fused_attention_of_a_user_is_left_in_train_mode() -> None:
    module = Fused()
    mha_lint.probe(module, torch.randn(2, 5, WIDTH))
    assert module.training
