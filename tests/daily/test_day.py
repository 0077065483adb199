"""A day of use: whatever a user does to the files, a run says what a run without a cache says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT
from samples import BROKEN, FIXED, SYNTAX_ERROR

from .conftest import PROGRAMS, Day


def names(findings: list[dict[str, Any]]) -> set[str]:
    return {Path(finding["filename"]).name for finding in findings}


def test_lint_edit_and_lint_again(day: Day) -> None:
    before = day.same_again()
    with (day.folder / "tiny_gpt.py").open("a") as file:
        file.write("x = 1\n")
    day.settle()
    assert day.same_again() == before
    os.utime(day.folder / "plain.py")
    day.settle()
    assert day.same_again() == before
    (day.folder / "plain.py").write_text(BROKEN)
    assert len(day.findings()) == len(before) + 1, "the file has just changed"
    day.settle()
    assert len(day.same_again()) == len(before) + 1


def test_the_installed_command_says_what_the_module_says(day: Day) -> None:
    told = day.installed(".")
    assert (told.returncode, told.stderr) == (1, "")
    assert told.stdout == day.lint(".").stdout


def test_rename_delete_break_and_mend_files(day: Day) -> None:
    before = day.same_again()
    (day.folder / "sub").mkdir()
    (day.folder / "vit.py").rename(day.folder / "sub/vit.py")
    day.settle()
    moved = day.same_again()
    assert [f["code"] for f in sorted(moved, key=str)] != []
    assert sorted(f["code"] for f in moved) == sorted(f["code"] for f in before)
    (day.folder / "tiny_gpt.py").unlink()
    assert names(day.same_again()) == names(before) - {"tiny_gpt.py"}
    (day.folder / "broken.py").write_text(SYNTAX_ERROR)
    day.settle()
    assert "MHA000" in {finding["code"] for finding in day.same_again()}
    (day.folder / "broken.py").write_text(FIXED)
    day.settle()
    assert names(day.same_again()) == names(before) - {"tiny_gpt.py"}


def test_what_is_said_of_a_file_does_not_depend_on_the_paths_that_are_named(day: Day) -> None:
    (day.folder / "sub").mkdir()
    shutil.copy(day.folder / "vit.py", day.folder / "sub/vit.py")
    (day.folder / "sub/pyproject.toml").write_text('[tool.mha-lint]\nignore = ["MHA002"]\n')
    day.settle()
    everywhere = day.same_again()
    below = [finding for finding in everywhere if Path(finding["filename"]).parent.name == "sub"]
    assert {f["code"] for f in everywhere} - {f["code"] for f in below} >= {"MHA002"}
    assert day.same_again("sub") == day.same_again("sub/vit.py") == below
    assert day.same_again("vit.py", "sub") == [f for f in everywhere if Path(f["filename"]).name == "vit.py"]
    os.utime(day.folder / "sub")
    assert day.same_again() == everywhere


def test_settings_that_change_between_two_runs_are_seen(day: Day) -> None:
    everything = day.same_again()
    (day.folder / "pyproject.toml").write_text('[tool.mha-lint]\nignore = ["MHA002"]\n')
    fewer = day.same_again()
    assert fewer == [finding for finding in everything if finding["code"] != "MHA002"] != everything
    (day.folder / "pyproject.toml").unlink()
    assert day.same_again() == everything


def test_fix_half_of_it_and_then_the_rest(day: Day) -> None:
    pytest.importorskip("torch")
    before = day.same_again()
    fixed = day.lint("--fix", "--device", "cpu", "--select", "MHA001", ".")
    assert re.search(r"^Found \d+ findings? \(.*\): \d+ fixed", fixed.stdout, re.MULTILINE)
    day.settle()
    left = day.same_again()
    assert [f["code"] for f in left] == [f["code"] for f in before if f["code"] != "MHA001"]
    day.lint("--fix", "--device", "cpu", "-q", ".")
    day.settle()
    last = day.same_again()
    assert {f["code"] for f in last} < {f["code"] for f in left}
    files = {file: file.read_bytes() for file in day.folder.glob("*.py")}
    day.lint("--fix", "--device", "cpu", "-q", ".")
    assert {file: file.read_bytes() for file in day.folder.glob("*.py")} == files, "fixing is idempotent"
    assert day.same_again() == last


def test_switching_branches(day: Day) -> None:
    before = day.same_again()
    day.git("checkout", "-q", "-b", "fixed")
    (day.folder / "tiny_gpt.py").write_text(FIXED)
    (day.folder / "more.py").write_text(BROKEN)
    day.git("add", "-A")
    day.git("commit", "-qm", "more", "--no-verify")
    day.settle()
    after = day.same_again()
    assert names(after) == names(before) - {"tiny_gpt.py"} | {"more.py"}
    for branch, expected in (("-", before), ("fixed", after), ("-", before)):
        day.git("checkout", "-q", branch)
        assert day.same_again() == expected
        day.settle()
        assert day.same_again() == expected


HOOK = f"""\
repos:
  - repo: local
    hooks:
      - id: mha-lint
        name: mha-lint
        entry: {PROGRAMS / "mha-lint"} --force-exclude
        language: system
        types_or: [python, pyi]
        require_serial: true
"""


def test_committing_through_pre_commit(day: Day) -> None:
    (day.folder / ".pre-commit-config.yaml").write_text(HOOK)
    day.environment["PRE_COMMIT_HOME"] = str(day.folder.parent / "pre-commit")
    day.run(sys.executable, "-m", "pre_commit", "install")
    (day.folder / "new.py").write_text(BROKEN)
    day.git("add", "-A")
    for _ in range(2):
        refused = day.git("commit", "-m", "new", status=(1,))
        assert "new.py:" in refused.stderr
        assert "MHA001" in refused.stderr
    (day.folder / "new.py").write_text(FIXED)
    day.git("add", "-A")
    day.git("commit", "-m", "new")
    with (day.folder / "plain.py").open("a") as file:
        file.write("print(2)\n")
    day.git("commit", "-am", "plain")


def test_flake8_and_the_command_on_one_cache(day: Day) -> None:
    (day.folder / "syntax.py").write_text(SYNTAX_ERROR)
    day.settle()

    def by_flake8() -> list[str]:
        run = day.run(sys.executable, "-m", "flake8", "--select", "MHA", ".")
        assert run.stderr == ""
        return sorted(":".join(line.split(":")[:3]) + line.split(":", 3)[3][:7] for line in run.stdout.splitlines())

    first = by_flake8()
    found = [f for f in day.same_again() if f["code"] != "MHA000"]
    places = [(f, Path(f["filename"]).name, f["location"]["row"], f["location"]["column"]) for f in found]
    assert first == sorted(f"./{name}:{row}:{column} {f['code']}" for f, name, row, column in places)
    assert by_flake8() == first, "a syntax error of the command's cache is flake8's to tell"
    (day.folder / "vit.py").write_text(FIXED)
    assert by_flake8() == [line for line in first if not line.startswith("./vit.py")]
    day.same_again()


def other_version(folder: Path) -> Path:
    """A copy of the package with another version, as an import path."""
    shutil.copytree(ROOT / "mha_lint", folder / "mha_lint", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "fixers", folder / "mha_lint/fixers", ignore=shutil.ignore_patterns("__pycache__"))
    init = folder / "mha_lint/__init__.py"
    text, count = re.subn(r'__version__ = "[^"]*"', '__version__ = "99.0"', init.read_text())
    assert count == 1
    init.write_text(text)
    return folder


def test_another_version_of_the_tool_with_the_old_cache_lying_there(day: Day, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    before = day.same_again()
    day.lint("--fix", "--device", "cpu", "-q", "vit.py")
    day.environment["PYTHONPATH"] = str(other_version(tmp_path / "newer"))
    assert day.lint("--version").stdout == "mha-lint 99.0\n"
    verbose = day.lint("-v", ".")
    assert re.search(r"^files: \d+, of which 0 from the cache$", verbose.stderr, re.MULTILINE)
    newer = day.same_again()
    del day.environment["PYTHONPATH"]
    assert day.same_again() == newer
    assert names(newer) <= names(before)


def test_damaged_caches_are_nobody_s_problem(day: Day) -> None:
    before = day.same_again()
    cache = day.folder / ".mha_lint_cache"
    entries = list(cache.rglob("*.json"))
    assert entries
    for damage in (b"", b"null", b'{"a": [1]}', b"\xff\xfe", entries[0].read_bytes()[:-1]):
        for file in entries:
            file.write_bytes(damage)
        assert day.findings() == before
    shutil.rmtree(cache)
    assert day.same_again() == before


def test_two_runs_at_once(day: Day) -> None:
    expected = day.lint("--no-cache", ".").stdout
    command = [sys.executable, "-m", "mha_lint", "."]
    for _ in range(3):
        shutil.rmtree(day.folder / ".mha_lint_cache", ignore_errors=True)
        runs = [
            subprocess.Popen(command, cwd=day.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        for run in runs:
            assert (*run.communicate(timeout=300), run.returncode) == (expected, "", 1)
    day.same_again()


def test_files_whose_names_are_not_unicode(day: Day) -> None:
    pytest.importorskip("torch")
    before = day.same_again()
    name = os.fsdecode(b"\xff\xe4.py")
    (day.folder / name).write_text(BROKEN)
    day.settle()
    assert len(day.same_again()) == len(before) + 1
    day.lint("--fix", "--device", "cpu", "-q", name)
    assert (day.folder / name).read_text() == FIXED
    day.settle()
    assert day.same_again() == before


# A rule and a fixer of somebody else's. The fixer is wrong: it leaves the heads where they are.
PLUGIN = """\
from mha_lint.findings import Edit, Fix, Position
from mha_lint.rules.view_of_transposed import ViewOfTransposed


class Copied(ViewOfTransposed):
    \'\'\'A rule of somebody else's.\'\'\'

    code, name = "MHX001", "copied"


def fix(hit, context):
    places = context.places
    row = places.start(hit.first).row
    column = places.line(row).index(".transpose(1, 2).view(") + 1
    end = Position(row, column + len(".transpose(1, 2)"))
    return Fix("safe", "repaired", "Leave the transpose out", (Edit(Position(row, column), end, ""),), flagged=(row,))
"""


def test_a_fix_that_was_refuted_is_not_offered_again_for_the_same_bytes(day: Day, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (day.folder / "new.py").write_text(BROKEN)
    plugin = tmp_path / "plugin"
    (plugin / "copied-1.dist-info").mkdir(parents=True)
    (plugin / "copied.py").write_text(PLUGIN)
    (plugin / "copied-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: copied\nVersion: 1\n")
    (plugin / "copied-1.dist-info/entry_points.txt").write_text(
        "[mha_lint.rules]\nMHX001 = copied:Copied\n[mha_lint.fixers]\nMHX001 = copied:fix\n"
    )
    day.environment["PYTHONPATH"] = str(plugin)
    day.settle()
    select = ("--select", "MHX001", "new.py")
    offered = "1 may be fixed with --fix (each is validated by execution first).\n"
    assert day.lint(*select).stdout.endswith(offered)
    assert ": 1 refuted" in day.lint("--fix", "--device", "cpu", *select, status=(1,)).stdout
    again = day.lint(*select)
    assert again.stdout.endswith("Found 1 finding (1 error).\n")
    assert "= refuted: " in again.stdout
    assert "fix (safe" not in again.stdout
    assert "[*]" not in day.lint("--output-format", "concise", "-q", *select).stdout
    day.settle()
    assert day.lint(*select).stdout == again.stdout
    assert ": 1 refuted" in day.lint("--fix", "--device", "cpu", *select, status=(1,)).stdout
    day.edit("new.py", "import torch\n", "import torch\n\n")
    assert day.lint(*select).stdout.endswith(offered), "these are other bytes"
