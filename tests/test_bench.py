"""``--bench``: validated fixes are timed before and after, and withheld where they are not faster. Runs real torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from samples import BROKEN, CLEAN

from mha_lint.bench.results import Bench, Left, Spread, Timed
from mha_lint.bench.wanted import UnknownShape, Wanted, parse_shapes, presets
from mha_lint.cli import main
from mha_lint.validation import Job, Validator

ON_CPU = ("--device", "cpu", "--isolated")
SMALL = ("--bench-shapes", "2x8x24,3x16x24")

# One finding each of MHA001 (it raises before), MHA002 and MHA004.
THREE = (
    BROKEN
    + """

class Packed(nn.Module):
    def __init__(self, dim: int = 24, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, dim // heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        qkv = self.qkv(x).reshape(b, t, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        weights = (q @ k.transpose(-2, -1) * self.head_dim**-0.5).softmax(dim=-1)
        y = (weights @ v).transpose(1, 2).contiguous().reshape(b, t, c)
        return self.out_proj(y)
"""
)

# Neither a width nor heads by default, and a rate of 0.
SIZED = """\
import torch
from torch import nn
from torch.nn import functional as F


class Sized(nn.Module):
    def __init__(self, dim, heads, drop=0.0):
        super().__init__()
        self.heads, self.head_dim, self.drop = heads, dim // heads, drop
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        qkv = self.qkv(x).reshape(b, t, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        weights = (q @ k.transpose(-2, -1) * self.head_dim**-0.5).softmax(dim=-1)
        y = F.dropout(weights, self.drop, self.training) @ v
        return self.out_proj(y.transpose(1, 2).reshape(b, t, c))
"""

# The fix of the rule below makes the first of these the second, or the other way round.
ONCE = "(q @ k.transpose(-2, -1) * self.head_dim**-0.5)"
OFTEN = "[q @ k.transpose(-2, -1) * self.head_dim**-0.5 for _ in range(30)][0]"
RULE = '''\
import ast

from mha_lint.rules import Hit, Rule


class Often(Rule):
    """## What it does

    Flags scores.
    """

    code, name, severity, why = "MHX001", "often", "info", "It is to be computed otherwise."
    applicability, relation = "safe", "equivalent"

    def check(self, model, places):
        for node in ast.walk(model.module.tree):
            match node:
                case ast.Assign(targets=[ast.Name("weights")], value=ast.Call(func=ast.Attribute(value=scores))):
                    if isinstance(scores, ast.BinOp) == BEFORE_IS_ONCE:
                        yield Hit(scores, scores, "scores", "Attention.forward")
'''
FIXER = """\
from mha_lint.findings import Edit, Fix


def fix(hit, context):
    edit = context.places.replace(hit.first, AFTER)
    return Fix("safe", "equivalent", "Compute the scores otherwise", (edit,))
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project as working directory."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def run(*arguments: str, site: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The installed command, with the packages of a folder."""
    command = [str(Path(sys.executable).with_name("mha-lint")), *ON_CPU, *arguments]
    environment = {**os.environ, **({"PYTHONPATH": str(site)} if site else {})}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def by_code(printed: str) -> dict[str, Any]:
    return {finding["code"]: finding for finding in json.loads(printed)["findings"]}


def site_with_a_fixer(folder: Path, *, slower: bool) -> Path:
    """A package with a rule whose fix makes code thirty times as slow, or undoes that."""
    package, declared = folder / "site/others", folder / "site/others-1.dist-info"
    for place in (package, declared):
        place.mkdir(parents=True)
    after = OFTEN if slower else ONCE
    (package / "__init__.py").touch()
    (package / "rule.py").write_text(RULE.replace("BEFORE_IS_ONCE", str(slower)))
    (package / "fixer.py").write_text(FIXER.replace("AFTER", repr(after)))
    (declared / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1\n")
    points = "[mha_lint.rules]\nMHX001 = others.rule:Often\n[mha_lint.fixers]\nMHX001 = others.fixer:fix\n"
    (declared / "entry_points.txt").write_text(points)
    return package.parent


def spread(median: float, half: float = 0.0) -> Spread:
    return Spread(median, median - half, median + half, 9)


def timed(before: Spread, after: Spread) -> Timed:
    return Timed("cpu", "float32", "small", ("x: (2, 8, 24)",), "forward", False, before, after)


# --- through the command


def test_fixes_that_are_equivalent_are_timed_and_others_are_not() -> None:
    pytest.importorskip("torch")
    Path("three.py").write_text(THREE)
    done = run("--fix", "--bench", *SMALL, "--ignore", "MHA201", "--output-format", "json", "three.py")
    assert done.returncode == 0, done.stderr
    found = by_code(done.stdout)
    assert set(found) == {"MHA001", "MHA002", "MHA004"}
    assert "bench" not in found["MHA001"]  # before, it raises
    for code in ("MHA002", "MHA004"):
        bench = found[code]["bench"]
        assert bench["withheld"] is None
        assert bench["called"].startswith("Packed(")
        rows = [(each["preset"], each["way"], each["shapes"]) for each in bench["timed"]]
        assert rows == [
            ("2x8x24", "forward", ["x: (2, 8, 24)"]),
            ("2x8x24", "training", ["x: (2, 8, 24)"]),
            ("3x16x24", "forward", ["x: (3, 16, 24)"]),
            ("3x16x24", "training", ["x: (3, 16, 24)"]),
        ]
        for each in bench["timed"]:
            assert (each["device"], each["dtype"], each["compiled"]) == ("cpu", "float32", False)
            for side in ("before", "after"):
                times = each[side]
                assert 0 < times["lower_quartile"] <= times["median"] <= times["upper_quartile"]
                assert times["measurements"] >= 5
            assert each["memory_before"] >= each["memory_after"] > 0
        assert [each["why"] for each in bench["left_out"]] == ["--bench-compile asks for it"]
    assert "unbind(0)" not in Path("three.py").read_text()


def test_a_table_is_printed_with_each_fix_and_beside_a_diff() -> None:
    pytest.importorskip("torch")
    Path("three.py").write_text(THREE)
    done = run("--diff", "--bench", "--bench-shapes", "2x8", "three.py", "--select", "MHA004")
    assert done.returncode == 1
    assert "bench" not in done.stdout
    _, headline, columns, forward, training, built, left = done.stderr.splitlines()[:7]
    assert headline.startswith("  bench: ") and "torch " in headline
    assert columns.split() == ["where", "size", "before", "after", "change", "peak", "memory"]
    assert forward.split()[:6] == ["cpu", "float32", "2x8", "(2,", "8,", "24)"]
    assert " training " in training and " ± " in training
    assert built.strip() == "built, at the last size: Packed() called with (x=(b, t, 24))"
    assert left.strip() == "not timed: cpu compiled: --bench-compile asks for it"
    done = run("--fix", "--bench", "--bench-shapes", "2x8", "three.py", "--select", "MHA004")
    assert "= bench: " in done.stdout and "=   cpu float32  2x8 (2, 8, 24)" in done.stdout


def test_a_fix_that_is_slower_is_withheld_if_only_faster_ones_are_wanted(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    site = site_with_a_fixer(tmp_path, slower=True)
    Path("slow.py").write_text(CLEAN)
    options = ("--select", "MHX001", "--bench-shapes", "2x64")
    done = run("--fix", "--bench-only-if-faster", *options, "--output-format", "json", "slow.py", site=site)
    assert done.returncode == 1, done.stderr
    assert Path("slow.py").read_text() == CLEAN
    bench = by_code(done.stdout)["MHX001"]["bench"]
    assert by_code(done.stdout)["MHX001"]["validation"]["verdict"] == "validated"
    assert {each["difference"] for each in bench["timed"]} == {"slower"}
    assert bench["withheld"].endswith("times slower at 2x64 on cpu, float32")
    done = run("--fix", "--bench-only-if-faster", *options, "slow.py", site=site)
    assert "= withheld: " in done.stdout and "from cache" in done.stdout
    assert "1 withheld, since not faster" in done.stdout
    done = run("--diff", "--bench-only-if-faster", *options, "slow.py", site=site)
    assert (done.returncode, done.stdout) == (0, "")
    assert "would not be fixed: withheld: " in done.stderr
    done = run("--fix", "--bench", *options, "slow.py", site=site)  # who only asks how fast it is gets it
    assert done.returncode == 0, done.stdout
    assert OFTEN in Path("slow.py").read_text()


def test_a_fix_that_is_faster_is_written_if_only_faster_ones_are_wanted(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    site = site_with_a_fixer(tmp_path, slower=False)
    Path("slow.py").write_text(CLEAN.replace(ONCE, OFTEN))
    options = ("--select", "MHX001", "--bench-shapes", "2x64")
    done = run("--fix", "--bench-only-if-faster", *options, "--output-format", "json", "slow.py", site=site)
    assert done.returncode == 0, done.stderr
    assert Path("slow.py").read_text() == CLEAN
    bench = by_code(done.stdout)["MHX001"]["bench"]
    assert {each["difference"] for each in bench["timed"]} == {"faster"}
    assert all(each["ratio"] > 2 and each["memory_before"] > each["memory_after"] for each in bench["timed"])


def test_timings_are_kept_in_the_evidence_which_can_still_be_replayed() -> None:
    pytest.importorskip("torch")
    Path("three.py").write_text(THREE)
    run("--fix", "--bench", "--bench-shapes", "2x8", "--evidence", "evidence.json", "--select", "MHA002", "three.py")
    (record,) = json.loads(Path("evidence.json").read_text())["benches"]
    assert record["job"]["before"] == THREE
    assert [each["way"] for each in record["bench"]["timed"]] == ["forward", "training"]
    done = run("--replay", "evidence.json")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "1 of 1 verdicts are as recorded.")


def test_where_the_code_refuses_a_length_it_gets_as_many_tokens_in_others() -> None:
    pytest.importorskip("torch")
    text = THREE.replace(
        "        qkv = self.qkv(x).reshape", "        assert t < 99\n        qkv = self.qkv(x).reshape"
    )
    Path("three.py").write_text(text)
    done = run(
        "--fix", "--bench", "--bench-shapes", "2x100", "--select", "MHA002", "--output-format", "json", "three.py"
    )
    (forward, training) = by_code(done.stdout)["MHA002"]["bench"]["timed"]
    assert forward["shapes"] == training["shapes"]
    batch, tokens, _ = map(int, forward["shapes"][0].removeprefix("x: (").removesuffix(")").split(", "))
    assert tokens < 99 and batch == 2 * 100 // tokens


def test_a_size_that_the_code_refuses_is_told() -> None:
    pytest.importorskip("torch")
    refusal = "        if x.numel() > 9999:\n            raise ValueError('too much of it')\n"
    row = "        qkv = self.qkv(x).reshape"
    Path("three.py").write_text(THREE.replace(row, refusal + row))
    options = ("--bench-only-if-faster", "--bench-shapes", "50x100", "--select", "MHA002", "--output-format", "json")
    done = run("--fix", *options, "three.py")
    bench = by_code(done.stdout)["MHA002"]["bench"]
    assert bench["timed"] == []
    assert bench["left_out"][0]["why"] == "calling it raised ValueError: too much of it"
    assert bench["withheld"] == "it was not timed: calling it raised ValueError: too much of it"


def test_widths_are_those_of_the_file_and_rates_those_of_the_class() -> None:
    pytest.importorskip("torch")
    options = ("--diff", "--bench", "--bench-shapes", "2x8x96x6", "--select", "MHA002", "--output-format", "json")
    Path("sized.py").write_text(SIZED)
    bench = by_code(run(*options, "sized.py").stdout)["MHA002"]["bench"]
    assert bench["called"] == "Sized(dim=96, heads=6, drop=0.0) called with (x=(b, t, 96))"
    Path("sized.py").write_text(f"{SIZED}\n\ndef build():\n    return Sized(40, heads=5)\n")
    bench = by_code(run(*options, "sized.py").stdout)["MHA002"]["bench"]
    assert bench["called"] == "Sized(dim=40, heads=5, drop=0.0) called with (x=(b, t, 40))"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for the CPU with g++")
def test_compiled_code_is_timed_where_that_is_asked_for() -> None:
    Path("three.py").write_text(THREE)
    options = ("--bench-compile", "--bench-shapes", "2x8", "--select", "MHA004", "--timeout", "600")
    done = run("--diff", "--bench", *options, "--output-format", "json", "three.py")
    bench = by_code(done.stdout)["MHA004"]["bench"]
    assert bench["left_out"] == []
    ways = [(each["compiled"], each["way"]) for each in bench["timed"]]
    assert ways == [(False, "forward"), (False, "training"), (True, "forward"), (True, "training")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bench"], "--bench needs --fix or --diff: it times the fixes that they validate"),
        (["--verify", "--bench"], "--bench needs --fix or --diff: it times the fixes that they validate"),
        (["--bench-only-if-faster"], "--bench-only-if-faster needs --fix or --diff: it times the fixes"),
        (["--fix", "--bench-shapes", "2x8"], "--bench-shapes needs --bench"),
        (["--fix", "--no-bench-compile"], "--no-bench-compile needs --bench"),
    ],
)
def test_options_that_make_no_sense_together_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("three.py").write_text(THREE)
    assert main([*ON_CPU, *arguments, "three.py"]) == 2
    assert message in capsys.readouterr().err
    assert Path("three.py").read_text() == THREE


@pytest.mark.parametrize("shapes", ["8", "8x", "0x8", "8x8x8x3", "axb", ",", "2x2x2x2x2"])
def test_shapes_that_are_none_are_refused(shapes: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--fix", "--bench", "--bench-shapes", shapes])
    assert left.value.code == 2
    assert "--bench-shapes" in capsys.readouterr().err


def test_without_the_option_nothing_of_it_is_imported() -> None:
    pytest.importorskip("torch")
    Path("three.py").write_text(THREE)
    script = (
        "import sys\nfrom mha_lint.cli import main\n"
        "main(['--fix', '--device', 'cpu', '--isolated', '--output-format', 'json', '-q', 'three.py'])\n"
        "assert not [name for name in sys.modules if name.startswith(('mha_lint.bench', 'mha_lint.report.bench'))]\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "MHA002" in done.stdout


# --- its parts


def test_the_shapes_of_the_option() -> None:
    assert parse_shapes("8x1024x768, 2x4096") == ((8, 1024, 768), (2, 4096))
    with pytest.raises(UnknownShape, match="3 heads do not divide the width 8"):
        parse_shapes("2x4x8x3")
    (made,) = presets("cuda", ((2, 16, 96, 3),))
    assert (made.name, made.batch, made.tokens, made.width, made.heads) == ("2x16x96x3", 2, 16, 96, 3)
    assert all(len(presets(device, ())) == 3 for device in ("cpu", "cuda"))


@pytest.mark.parametrize(
    ("before", "after", "difference"),
    [
        (spread(1.0, 0.01), spread(0.9, 0.01), "faster"),
        (spread(0.9, 0.01), spread(1.0, 0.01), "slower"),
        (spread(1.0), spread(0.98), "no difference"),  # less than 3 %
        (spread(1.0, 0.1), spread(0.85, 0.1), "no difference"),  # the quartiles overlap
        (spread(1.0), spread(1.0), "no difference"),
    ],
)
def test_a_difference_is_more_than_the_spread(before: Spread, after: Spread, difference: str) -> None:
    assert timed(before, after).difference == difference


def test_faster_somewhere_and_slower_nowhere_is_faster() -> None:
    faster, same = timed(spread(2.0), spread(1.0)), timed(spread(1.0), spread(1.0))
    slower = timed(spread(1.0), spread(1.5))
    assert Bench((faster, same)).obstacle == ""
    assert Bench((faster, slower)).obstacle == "forward is 1.50 times slower at small on cpu, float32"
    assert Bench((same,)).obstacle == "no difference was measured"
    assert Bench(left=(Left("no memory"),)).obstacle == "it was not timed: no memory"
    assert Bench(reason="it died").obstacle == "it was not timed: it died"


class Watched(Validator):
    """A validator that notes when its lanes begin and end a piece of work."""

    def __init__(self) -> None:
        super().__init__(devices=("cpu",), lanes=2)
        self.spans: list[tuple[str, float, float]] = []

    def _ask_lane(self, work: Any, kind: Any) -> Any:
        begun = time.monotonic()
        answer = super()._ask_lane(work, kind)
        self.spans.append((type(work).__name__, begun, time.monotonic()))
        return answer


def test_nothing_is_validated_while_something_is_timed(project: Path) -> None:
    pytest.importorskip("torch")
    after = THREE.replace(
        "permute(2, 0, 3, 1, 4)\n        q, k, v = qkv.unbind(0)", "permute(2, 0, 3, 1, 4)\n        q, k, v = qkv"
    )
    jobs = [Job(str(project / f"{name}.py"), THREE, after, ("Packed.forward",), "equivalent") for name in "abcd"]
    with Watched() as validator:
        verdict = validator.validate(jobs[0])
        assert verdict.verdict == "validated", verdict.reason
        threads = [threading.Thread(target=validator.validate, args=(job,)) for job in jobs[1:]]
        for thread in threads:
            thread.start()
        bench = validator.bench(jobs[0], Wanted(((2, 8),)))
        for thread in threads:
            thread.join()
    assert len(bench.timed) == 2, bench
    (alone,) = [span for span in validator.spans if span[0] == "Time"]
    others = [span for span in validator.spans if span[0] == "Validate"]
    assert len(others) == 4
    assert all(end <= alone[1] or begin >= alone[2] for _, begin, end in others)
