"""What the README and the page of settings say is so."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT

from mha_lint.configuration import parse_settings
from mha_lint.settings import Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

README = (ROOT / "README.md").read_text("utf-8")
SETTINGS = (ROOT / "docs/settings.md").read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_the_first_example_shows_all_that_the_command_prints(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    command, _, printed = blocks(README, "console")[0].partition("\n")
    assert command.startswith("$ mha-lint ")
    run = [sys.executable, "-m", "mha_lint", *command.removeprefix("$ mha-lint ").split()]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == printed


def test_nobody_is_told_to_install_what_is_not_published() -> None:
    for text in (README, *(page.read_text("utf-8") for page in (ROOT / "docs").glob("*.md"))):
        for command in re.findall(r"pip install [^\n`]*", text):
            assert "./mha-lint" in command or "git+https://" in command, command


def test_the_settings_that_the_readme_shows_are_settings() -> None:
    (table,) = blocks(README, "toml")
    settings = parse_settings(tomllib.loads(table)["tool"]["mha-lint"], Path("pyproject.toml"))
    assert settings.extend_exclude
    assert settings.exclude == Settings().exclude, "the default exclusions stay"
    assert settings.extend_safe_fixes == ("MHA003",)


@pytest.mark.parametrize("text", [README, SETTINGS], ids=["README", "settings"])
def test_ruff_is_told_of_our_codes(text: str) -> None:
    assert 'lint.external = ["MHA"]' in text


DEMO = """\
#!{python}
import mha_lint.linter

def lint(*_, **__):
    raise RuntimeError("a bug")

if {crashes}:
    mha_lint.linter.lint = lint

from mha_lint.shortcut import entry
entry()
"""


@pytest.mark.parametrize("crashes", [True, False])
def test_make_demo_fails_when_the_tool_crashes(tmp_path: Path, crashes: bool) -> None:
    pytest.importorskip("torch")
    (tmp_path / "examples").mkdir()
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "examples/needless_contiguous.py", tmp_path / "examples")
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin/mha-lint"
    tool.write_text(DEMO.format(python=sys.executable, crashes=crashes))
    tool.chmod(0o755)
    ready = [option for file in (".venv/created", ".venv/installed") for option in ("-o", file)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = ["make", "demo", f"BIN={tmp_path}/bin", *ready]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode != 0) is crashes, done.stdout + done.stderr
