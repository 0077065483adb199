"""Where the console script ends early, it says and does what the whole command would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from samples import BROKEN

from mha_lint.cli import main
from mha_lint.shortcut import passed

PLAIN = "import os\n\n\ndef name():\n    return os.name  # größer\n"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain.py").write_text(PLAIN, "utf-8")
    (tmp_path / "other.pyi").write_text("x: int\n")
    (tmp_path / "broken.py").write_text(BROKEN)
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ["plain.py"],
        ["plain.py", "other.pyi", "--force-exclude"],
        ["--fix", "plain.py"],
        ["-q", "--isolated", "plain.py"],
    ],
)
def test_it_ends_as_the_whole_command_does(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert passed(arguments)
    early = capfd.readouterr()
    assert main(arguments) == 0
    assert capfd.readouterr() == early


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("broken.py", BROKEN.encode()),
        ("utf16.py", PLAIN.encode("utf-16")),
        ("latin.py", PLAIN.encode("latin-1")),
        ("coded.py", b"# coding: nonsense\n"),
        ("marked.py", b"\xef\xbb\xbfx = 1\n"),
        ("zero.py", b"x = '\0'\n"),
        ("text.txt", b"x = 1\n"),
    ],
)
def test_what_is_out_of_the_ordinary_is_not_its_business(name: str, content: bytes, project: Path) -> None:
    (project / name).write_bytes(content)
    assert not passed([name])
    assert not passed(["plain.py", name])


@pytest.mark.parametrize("arguments", [[], ["."], ["gone.py"], ["--statistics", "plain.py"], ["-", "plain.py"]])
def test_other_arguments_go_to_the_command(arguments: list[str]) -> None:
    assert not passed(arguments)


def test_settings_are_read_by_the_command(project: Path) -> None:
    (project / "pyproject.toml").write_text("[tool.mha-lint]\nselct = []\n")
    assert not passed(["plain.py"])
    assert passed(["plain.py", "--isolated", "-q"])


def test_a_reader_that_is_gone_is_left_to_the_command(project: Path) -> None:
    script = f'"{sys.executable}" -m mha_lint plain.py > /dev/full; echo $?'
    done = subprocess.run(script, shell=True, capture_output=True, text=True, cwd=project)
    assert done.stdout.strip() == "2"
    assert "cannot be written" in done.stderr


def test_hardly_anything_is_imported(project: Path) -> None:
    script = "import sys; from mha_lint.shortcut import passed; passed(['plain.py', '-q']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=project, check=True)
    assert not {"argparse", "dataclasses", "mha_lint.cli", "libcst"} & set(done.stdout.split())
