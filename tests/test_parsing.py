"""The user's code is parsed without a word: no warning of Python about it reaches standard error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from samples import BROKEN

# Escapes that Python warns of: in what is analysed, in what is not, and in a harness.
ANALYSED = 'b, t, c = x.shape\n        assert "\\d", "\\d" "\\w"'
WARNED_OF = BROKEN.replace("b, t, c = x.shape", ANALYSED) + '\n\nPATTERN = "\\d+"\nOTHER = b"\\w"\n'
HARNESS = '[tool.mha-lint.harness."warned:Other"]\ninputs = {x = "len(\'\\\\d\')"}\n'
SHOWN = "always:invalid escape"  # as Python 3.12 does by default
FAILING = "error:invalid escape"


def run(*arguments: str, warnings: str = SHOWN) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", warnings, "-m", "mha_lint", "--no-cache", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "warned.py").write_text(WARNED_OF)
    (tmp_path / "pyproject.toml").write_text(HARNESS)


def test_python_does_warn_of_these_texts() -> None:
    command = [sys.executable, "-W", "always", "-c", "import ast; ast.parse(open('warned.py').read())"]
    assert "invalid escape" in subprocess.run(command, check=True, capture_output=True, text=True).stderr


@pytest.mark.parametrize("warnings", [SHOWN, FAILING])
def test_warnings_of_python_about_the_code_do_not_reach_standard_error(warnings: str) -> None:
    linted = run("warned.py", warnings=warnings)
    assert (linted.returncode, linted.stderr) == (1, "")
    assert "MHA001" in linted.stdout


def test_warnings_about_long_code_do_not_either() -> None:
    long = "x = " + "(" * 120 + "1" + ")" * 120  # looked at with care
    Path("warned.py").write_text(f"{WARNED_OF}{long}\n")
    linted = run("warned.py")
    assert (linted.returncode, linted.stderr) == (1, "")


@pytest.mark.parametrize("arguments", [("--fix", "warned.py"), ("--probe", "warned:Attention")])
def test_warnings_do_not_reach_standard_error_where_the_code_is_executed(arguments: tuple[str, ...]) -> None:
    pytest.importorskip("torch")
    done = run(*arguments, "--device", "cpu")
    assert "escape" not in done.stderr
    assert "escape" not in done.stdout


def test_a_module_whose_source_is_read_again_causes_none() -> None:
    pytest.importorskip("torch")
    Path("warned.py").write_text(WARNED_OF.replace(".view(b, t, c)", ".reshape(b, t, c)"))
    code = (
        "import warnings; warnings.simplefilter('ignore'); import warned, mha_lint; warnings.simplefilter('always')\n"
        "print(len(mha_lint.probe(warned.Attention(32, 4))))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert int(done.stdout) > 5, done.stderr
    assert "invalid escape" not in done.stderr
