"""``--fix`` and ``--diff``: what is written, what is not, and with which status the command ends. Runs real torch."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from samples import BROKEN, CLEAN, FIXED, ROW, SYNTAX_ERROR

from mha_lint import __version__
from mha_lint.cli import main
from mha_lint.files import Source


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project as working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, text: str | bytes = BROKEN) -> Path:
    path = Path(name)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def without_torch(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    """Make every process that this test starts fail to import torch."""
    (project / "shadow/torch").mkdir(parents=True)
    (project / "shadow/torch/__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\")\n")
    monkeypatch.setenv("PYTHONPATH", str(project / "shadow"))


def test_a_torch_that_is_too_old_is_named_with_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    path = write("broken.py")
    (project / "shadow/torch").mkdir(parents=True)
    (project / "shadow/torch/__init__.py").write_text('__version__ = "2.3.1+cu121"\n')
    monkeypatch.setenv("PYTHONPATH", str(project / "shadow"))
    assert main(["--fix", "broken.py"]) == 2
    said = 'validation needs PyTorch 2.4 or newer, and finds 2.3.1+cu121: pip install --upgrade "mha-lint[torch]"'
    assert said in capsys.readouterr().err
    assert path.read_text() == BROKEN


def test_fix_writes_what_was_validated_and_ends_with_0(capsys: pytest.CaptureFixture[str], project: Path) -> None:
    pytest.importorskip("torch")
    path = write("broken.py")
    path.chmod(0o755)
    assert main(["--fix", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert path.read_text() == FIXED
    assert path.stat().st_mode & 0o777 == 0o755
    assert sorted(os.listdir(project)) == [".mha_lint_cache", "broken.py"]
    assert re.search(rf"^broken\.py:{ROW}:\d+: MHA001 error: \[fixed\] ", out)
    assert re.search(r"^ +=  ?validated: module · cpu (\d+)/\1 · bitwise$", out, re.MULTILINE)
    assert out.endswith("Found 1 finding (1 error): 1 fixed (validated on cpu).\n")
    assert main(["--fix"]) == 0
    assert path.read_text() == FIXED


def test_exit_non_zero_on_fix(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    write("broken.py")
    assert main(["--fix", "--device", "cpu", "--exit-non-zero-on-fix"]) == 1
    assert main(["--fix", "--device", "cpu", "--exit-non-zero-on-fix"]) == 0


def test_json_after_a_fix_holds_the_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    write("broken.py")
    assert main(["--fix", "--device", "cpu", "--output-format", "json"]) == 0
    captured = capsys.readouterr()
    (finding,) = json.loads(captured.out)["findings"]
    validation = finding["validation"]
    assert (validation["verdict"], validation["harness"]) == ("validated", "module")
    assert len(validation["trials"]) >= 8
    assert {trial["device"] for trial in validation["trials"]} == {"cpu"}
    assert "Found 1 finding (1 error): 1 fixed (validated on cpu)." in captured.err


# Statements that write to an attribute can't be run alone.
ATTACHED = BROKEN.replace("        y = (weights", "        self.last = y = (weights")
# Nothing in the file tells what `key` must be.
SECRETIVE = ATTACHED.replace("heads: int = 4) -> None:", "heads: int = 4, *, key) -> None:").replace(
    "super().__init__()", "super().__init__()\n        if key[::-1] != 'emases':\n            raise ValueError('no')"
)


@pytest.mark.slow
def test_what_the_summary_advises_where_nothing_ran_does_help(capsys: pytest.CaptureFixture[str]) -> None:
    path = write("secretive.py", SECRETIVE)
    assert main(["--fix", "--device", "cpu"]) == 1
    told = capsys.readouterr().out
    assert "it helps to construct the class with literal arguments in its own file" in told
    assert '[tool.mha-lint.harness."secretive:Attention"]' in told
    write("secretive.py", SECRETIVE + "\n\ndef build():\n    return Attention(24, 4, key='sesame')\n")
    assert main(["--fix", "--device", "cpu"]) == 0
    assert ".contiguous()" in path.read_text()
    assert "it helps" not in capsys.readouterr().out


def test_diff_says_on_stderr_why_a_finding_stays(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    write("broken.py")
    write("unimportable.py", ATTACHED.replace("import torch\n", "import torch\n{}['key']\n", 1))
    assert main(["--diff", "--device", "cpu"]) == 1
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert "unimportable" not in captured.out
    assert len(lines) == 2
    assert re.match(rf"unimportable\.py:{ROW + 1}:\d+: MHA001 would not be fixed: not exercised: .*KeyError", lines[0])
    assert lines[1] == "Found 2 findings (2 errors): 1 would be fixed, 1 not exercised (validated on cpu)."


def test_an_output_file_that_cannot_be_opened_stops_the_run_before_anything_is_fixed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write("broken.py")
    assert main(["--fix", "--output-file", "none/report"]) == 2
    assert path.read_text() == BROKEN
    assert capsys.readouterr() == ("", "error: none/report: the report cannot be written: no such file or directory\n")


def test_diff_validates_prints_a_patch_and_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    path = write("broken.py")
    assert main(["--diff", "--device", "cpu"]) == 1
    captured = capsys.readouterr()
    assert path.read_text() == BROKEN
    assert captured.err == "Found 1 finding (1 error): 1 would be fixed (validated on cpu).\n"
    subprocess.run(["patch", "-p0"], input=captured.out, text=True, check=True, capture_output=True)
    assert path.read_text() == FIXED
    assert main(["--diff"]) == 0
    assert capsys.readouterr().out == ""


def test_a_diff_is_coloured_where_colours_are_wanted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    write("broken.py")
    main(["--diff", "--device", "cpu", "-q"])
    plain = capsys.readouterr().out
    monkeypatch.setenv("FORCE_COLOR", "1")
    main(["--diff", "--device", "cpu", "-q"])
    painted = capsys.readouterr().out
    assert "\x1b[32m+        y = (weights" in painted
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == plain
    assert "\x1b" not in plain


def test_a_diff_on_a_terminal_lacks_what_a_terminal_obeys() -> None:
    pytest.importorskip("torch")
    write("broken.py", BROKEN.replace("self.out_proj(y), weights\n", "self.out_proj(y), weights  # \x1b]0;owned\x07\n"))
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "mha_lint", "--diff", "--device", "cpu", "-q"]
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, env={**os.environ, "NO_COLOR": "1"})
    os.close(theirs)
    os.set_blocking(ours, False)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert done.returncode == 1
    assert "]0;owned" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("before", "encoding"),
    [
        (BROKEN.replace("\n", "\r\n"), "utf-8"),
        ("\ufeff" + BROKEN, "utf-8"),
        ("# coding: latin-1\n# é\n" + BROKEN, "latin-1"),
        (BROKEN.replace("    ", "\t"), "utf-8"),
        (BROKEN.removesuffix("\n"), "utf-8"),
    ],
    ids=["crlf", "bom", "latin-1", "tabs", "no final newline"],
)
@pytest.mark.slow
def test_bytes_that_the_fix_does_not_touch_survive(
    before: str, encoding: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    path = write("broken.py", before.encode(encoding))
    expected = before.replace(".transpose(1, 2).view(", ".transpose(1, 2).contiguous().view(").encode(encoding)
    assert main(["--diff", "--device", "cpu"]) == 1
    patch = capsysbinary.readouterr().out
    assert main(["--fix", "--device", "cpu"]) == 0
    assert path.read_bytes() == expected
    write("broken.py", before.encode(encoding))
    subprocess.run(["patch", "-p0", "--binary"], input=patch, check=True, capture_output=True)
    assert path.read_bytes() == expected


def test_without_torch_fix_says_what_to_install_and_changes_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    without_torch(monkeypatch, project)
    path = write("broken.py")
    assert main(["--fix", "broken.py"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert 'pip install "mha-lint[torch]"' in captured.err
    assert path.read_text() == BROKEN
    assert main(["broken.py"]) == 1, "linting needs no torch"


def test_without_torch_there_may_be_nothing_to_fix(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    without_torch(monkeypatch, project)
    write("clean.py", CLEAN)
    assert main(["--fix", "clean.py"]) == 0


def test_a_required_device_that_is_absent_ends_with_2_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    path = write("broken.py")
    assert main(["--fix", "--require-device", "cuda"]) == 2
    captured = capsys.readouterr()
    assert path.read_text() == BROKEN
    assert captured.out == ""
    assert re.fullmatch(r"error: .*cuda.*\n", captured.err)


def test_stdin_is_fixed_to_stdout(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    for given, expected in ((BROKEN, FIXED), (CLEAN, CLEAN)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
        assert main(["--fix", "--device", "cpu", "-", "--stdin-filename", "x.py"]) == 0
        assert capsys.readouterr().out == expected
    assert not Path("x.py").exists()


def test_stdin_under_an_excluded_name_comes_back_unchanged(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("pyproject.toml", '[tool.mha-lint]\nexclude = ["gen"]\n')
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(BROKEN.encode())))
    assert main(["--fix", "--force-exclude", "-", "--stdin-filename", "gen/x.py"]) == 0
    assert capsys.readouterr().out == BROKEN


def test_stdin_that_cannot_be_fixed_comes_back_unchanged(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    without_torch(monkeypatch, project)
    for given, status, told in ((BROKEN, 2, "error: "), (SYNTAX_ERROR, 1, "-:3:7: MHA000 error: syntax error: ")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
        assert main(["--fix", "-"]) == status
        captured = capsys.readouterr()
        assert captured.out == given
        assert captured.err.startswith(told)


def test_a_crash_in_a_fixer_costs_one_file(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from mha_lint import fixing

    real = fixing.fix_source

    def fix_source(source: Source, *rest: Any, **named: Any) -> fixing.Fixed:
        if source.path.name == "a.py":
            raise RuntimeError("a bug")
        return real(source, *rest, **named)

    monkeypatch.setattr(fixing, "fix_source", fix_source)
    first, second = write("a.py"), write("b.py")
    assert main(["--fix", "--device", "cpu"]) == 2
    captured = capsys.readouterr()
    assert (
        f"error: a.py: mha-lint {__version__} failed while fixing this file (RuntimeError: a bug); please report it"
        in captured.err
    )
    assert (first.read_text(), second.read_text()) == (BROKEN, FIXED)


def test_a_file_that_cannot_be_written_is_named_and_the_others_are_fixed(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    locked, free = write("a.py"), write("b.py")
    locked.chmod(0o444)
    assert main(["--fix", "--device", "cpu"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: a.py: is read-only; left alone\n"
    assert (locked.read_text(), free.read_text()) == (BROKEN, FIXED)
    assert captured.out.endswith("Found 2 findings (2 errors): 1 fixed, 1 not written (validated on cpu).\n")


@pytest.mark.slow
def test_interrupted_at_any_instant_each_file_is_wholly_old_or_wholly_new(project: Path) -> None:
    names = [f"m{number}.py" for number in range(6)]

    def fixed() -> int:
        return sum(Path(name).read_text() == f"# {name}\n{FIXED}" for name in names)

    for seconds, files in ((0.3, 0), (1.5, 0), (0.0, 1), (0.0, 2), (0.0, 5)):
        for name in names:
            write(name, f"# {name}\n{BROKEN}")
        process = subprocess.Popen(
            [sys.executable, "-m", "mha_lint", "--fix", "--device", "cpu", "--no-cache"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # as in a terminal
        )
        time.sleep(seconds)
        while fixed() < files and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        if process.returncode == 130:
            assert err == "interrupted: each file is either as it was or wholly fixed\n"
        else:  # it was done already, or Python itself had not started yet
            assert process.returncode in (0, -signal.SIGINT), err
        assert sorted(os.listdir(project)) == names, "no temporary file stays behind"
        for name in names:
            assert Path(name).read_text() in (f"# {name}\n{BROKEN}", f"# {name}\n{FIXED}")
