"""``--write-baseline`` and ``--baseline``: what is known is not reported, whatever changes around it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT, commit_all
from installed import lint
from samples import BROKEN, FIXED, SYNTAX_ERROR

NONE_SHOWN = "All checks passed.\n1 finding of the baseline known.json is not shown.\n"
SECOND = BROKEN.replace("class Attention", "class Second").partition("\n\n\n")[2]
RUFF = [sys.executable, "-m", "ruff", "format", "-q", "--isolated"]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(file: str = "known.json") -> list[dict[str, Any]]:
    content = json.loads(Path(file).read_text())
    assert content["version"] == 1
    return list(content["findings"])


def test_what_was_found_is_not_reported_again_and_what_is_new_is() -> None:
    Path("a.py").write_text(BROKEN)
    assert lint("--write-baseline", "known.json") == "Wrote 1 finding to known.json.\n"
    assert lint("--baseline", "known.json") == NONE_SHOWN
    assert lint("--baseline", "known.json", "-q") == ""
    Path("a.py").write_text(f"{BROKEN}\n\n{SECOND}")
    told = lint("--baseline", "known.json", "--output-format", "concise", status=1)
    assert told.count("MHA001") == 1
    assert "a.py:33:" in told
    assert "1 finding of the baseline known.json is not shown." in told


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param("import os\n\n" + BROKEN, id="rows above"),
        pytest.param(f"{BROKEN.partition('class')[0]}{SECOND.replace('.view(b, t, c)', '')}\n\n"
                     f"class{BROKEN.partition('class')[2]}", id="moved within the file"),
        pytest.param(BROKEN.replace(".view(b, t, c)", ".view(\n            b,  # batch\n   t, (c))"), id="form"),
        pytest.param(BROKEN.replace("\n", "\r\n"), id="newlines"),
        pytest.param(BROKEN.replace("    ", "\t"), id="tabs"),
    ],
)  # fmt: skip
def test_it_stays_known_while_code_around_it_or_its_form_changes(changed: str) -> None:
    Path("a.py").write_text(BROKEN)
    lint("--write-baseline", "known.json", "--select", "MHA001")
    Path("a.py").write_bytes(changed.encode())
    assert lint("--baseline", "known.json", "--select", "MHA001") == NONE_SHOWN


def test_a_whole_project_stays_known_when_it_is_formatted_anew() -> None:
    for path in (ROOT / "examples").glob("*.py"):
        shutil.copy(path, ".")
    lint("--write-baseline", "known.json", "--select", "ALL")
    before = {path: path.read_text() for path in Path().glob("*.py")}
    subprocess.run([*RUFF, "--line-length", "60", "."], check=True)
    assert sum(path.read_text() != text for path, text in before.items()) > 20
    assert lint("--baseline", "known.json", "--select", "ALL").startswith("All checks passed.\n")


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(BROKEN.replace("view(b, t, c)", "view(b, t, -1)"), id="the statement"),
        pytest.param(BROKEN.replace("class Attention", "class Other"), id="the symbol"),
    ],
)
def test_it_is_new_where_its_statement_or_its_symbol_is_another(changed: str) -> None:
    Path("a.py").write_text(BROKEN)
    lint("--write-baseline", "known.json")
    Path("a.py").write_text(changed)
    assert "1 entry of the baseline known.json is no longer found" in lint("--baseline", "known.json", status=1)


def test_of_equal_findings_as_many_are_known_as_were_written() -> None:
    line = next(line for line in BROKEN.splitlines(keepends=True) if ".view(b, t, c)" in line)
    Path("a.py").write_text(BROKEN.replace(line, line * 2))
    lint("--write-baseline", "known.json", "--select", "MHA001")
    assert [row["count"] for row in rows()] == [2]
    Path("a.py").write_text(BROKEN.replace(line, line * 3))
    found = lint("--baseline", "known.json", "--select", "MHA001", "--output-format", "json", "-q", status=1)
    assert len(json.loads(found)["findings"]) == 1


def test_entries_that_are_no_longer_found_are_told_with_the_command_that_prunes_them() -> None:
    Path("src").mkdir()
    for name in ("src/a.py", "src/b.py", "c.py"):
        Path(name).write_text(BROKEN)
    lint("--write-baseline", "known.json")
    Path("src/a.py").write_text(FIXED)
    Path("src/b.py").unlink()
    told = lint("--baseline", "known.json", "src")
    again = "mha-lint --write-baseline known.json src"
    assert f"2 entries of the baseline known.json are no longer found: `{again}` writes it anew.\n" in told
    assert lint(*again.split()[1:]) == "Wrote 0 findings to known.json, and kept 1 other.\n"
    assert [row["path"] for row in rows()] == ["c.py"]
    assert lint("--baseline", "known.json") == NONE_SHOWN


def test_what_a_run_did_not_look_at_is_neither_stale_nor_lost() -> None:
    Path("a.py").write_text(BROKEN)
    Path("b.py").write_text(BROKEN)
    lint("--write-baseline", "known.json")
    written = Path("known.json").read_text()
    assert "no longer found" not in lint("--baseline", "known.json", "a.py")
    assert "no longer found" not in lint("--baseline", "known.json", "--select", "MHA2")
    lint("--write-baseline", "known.json", "--select", "MHA2")
    assert Path("known.json").read_text() == written
    Path("b.py").write_text(SYNTAX_ERROR)
    assert "no longer found" not in lint("--baseline", "known.json", status=1)


def test_a_syntax_error_is_never_known() -> None:
    Path("a.py").write_text(SYNTAX_ERROR)
    lint("--write-baseline", "known.json")
    assert rows() == []
    assert "MHA000" in lint("--baseline", "known.json", status=1)


def test_paths_are_relative_to_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("project/src").mkdir(parents=True)
    Path("project/src/a.py").write_text(BROKEN)
    Path("project/pyproject.toml").write_text('[tool.mha-lint]\nbaseline = "ci/known.json"\n')
    Path("project/ci").mkdir()
    lint("--write-baseline", "project/ci/known.json", "project")
    assert [row["path"] for row in rows("project/ci/known.json")] == ["../src/a.py"]
    Path("project").rename("moved")
    assert "is not shown" in lint("moved")
    monkeypatch.chdir(tmp_path / "moved/src")
    assert "is not shown" in lint("a.py")
    assert "1 error" in lint("a.py", "--isolated", status=1)


def test_the_rows_are_sorted_and_git_merges_two_baselines() -> None:
    for name in "abcdefgh":
        Path(f"{name}.py").write_text(BROKEN)
    lint("--write-baseline", "known.json")
    assert rows() == sorted(rows(), key=lambda row: row["path"])
    commit_all(Path())
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    for branch, name in (("one", "b"), ("two", "g")):
        subprocess.run([*git, "checkout", "-qb", branch, "HEAD" if branch == "one" else "one~1"], check=True)
        Path(f"{name}.py").write_text(FIXED)
        Path(f"{name}2.py").write_text(BROKEN)
        lint("--write-baseline", "known.json")
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-qm", branch, "--no-verify"], check=True)
    subprocess.run([*git, "merge", "-q", "one", "-m", "both"], check=True)
    merged = Path("known.json").read_text()
    assert "8 findings" in lint("--baseline", "known.json")
    lint("--write-baseline", "known.json")
    assert Path("known.json").read_text() == merged


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "known.json: there is no such baseline; --write-baseline known.json writes it"),
        ("<<<<<<< HEAD\n", "known.json: is no baseline of mha-lint (JSON is malformed"),
        ('{"version": 1, "findings": [{"path": 1}]}', "known.json: is no baseline of mha-lint (Expected `str`"),
        ('{"version": 2, "findings": []}', "known.json: is a baseline of version 2"),
    ],
)
def test_a_bad_file_is_named_and_nothing_is_fixed(content: str | None, told: str) -> None:
    Path("a.py").write_text(BROKEN)
    if content is not None:
        Path("known.json").write_text(content)
        assert lint("--write-baseline", "known.json", status=2).startswith(f"error: {told}")
        assert Path("known.json").read_text() == content
    assert lint("--baseline", "known.json", "--fix", status=2).startswith(f"error: {told}")
    assert Path("a.py").read_text() == BROKEN


def test_what_is_known_is_not_fixed_and_fixes_beside_it_leave_it_known() -> None:
    pytest.importorskip("torch")
    Path("a.py").write_text(f"{BROKEN}\n\n{SECOND}")
    lint("--write-baseline", "known.json")
    content = json.loads(Path("known.json").read_text())
    content["findings"] = [row for row in content["findings"] if row["symbol"].startswith("Attention")]
    Path("known.json").write_text(json.dumps(content))
    told = lint("--baseline", "known.json", "--fix", "--device", "cpu")
    assert "Found 1 finding (1 error): 1 fixed" in told
    assert Path("a.py").read_text() == f"{BROKEN}\n\n{SECOND}".replace(
        ".view(b, t, c)", ".contiguous().view(b, t, c)"
    ).replace(".contiguous()", "", 1)


def test_the_cache_holds_all_findings_with_and_without_a_baseline() -> None:
    Path("a.py").write_text(BROKEN)
    lint("--write-baseline", "known.json")
    assert "1 from the cache" in lint("--baseline", "known.json", "-v")
    assert "1 error" in lint(status=1)
    assert "1 from the cache" in lint("-v", status=1)
    assert "is not shown" in lint("--baseline", "known.json")


def test_flake8_leaves_out_what_the_baseline_of_the_settings_holds() -> None:
    pytest.importorskip("flake8")
    Path("a.py").write_text(f"{BROKEN}\n\n{SECOND}")
    lint("--write-baseline", "known.json")
    content = json.loads(Path("known.json").read_text())
    Path("known.json").write_text(json.dumps({**content, "findings": content["findings"][:1]}))
    Path("mha-lint.toml").write_text('baseline = "known.json"\n')
    command = [sys.executable, "-m", "flake8", "--isolated", "--select", "MHA", "a.py"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.count("MHA001") == 1
    Path("known.json").write_text("{")
    assert "known.json: is no baseline" in subprocess.run(command, capture_output=True, text=True).stdout


def test_sarif_alone_lists_what_is_known_as_suppressed() -> None:
    Path("a.py").write_text(BROKEN)
    lint("--write-baseline", "known.json")
    (run,) = json.loads(lint("--baseline", "known.json", "--output-format", "sarif", "-q"))["runs"]
    assert [result["suppressions"][0]["justification"] for result in run["results"]] == ["baseline"]
    assert json.loads(lint("--baseline", "known.json", "--output-format", "json", "-q"))["findings"] == []
    assert lint("--baseline", "known.json", "--output-format", "github", "-q").strip() == ""
