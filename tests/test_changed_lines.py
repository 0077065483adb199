"""``--diff-base``: only findings on lines that have changed since a revision of git."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from checkout import ROOT, commit_all
from installed import lint
from samples import BROKEN, FIXED, ROW

SECOND = BROKEN.replace("class Attention", "class Second").partition("\n\n\n")[2]
VIEW = ".view(b, t, c)"
BEHIND = SECOND.count("\n") + 2  # rows between the findings of both


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one commit, with a finding in ``a.py``."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "a.py").write_text(BROKEN)
    monkeypatch.chdir(folder)
    return folder


def found(*arguments: str) -> list[str]:
    """Where the findings are."""
    told = lint(*arguments, "--diff-base", "HEAD", "--output-format", "json", "-q", "--exit-zero")
    return [f"{Path(each['filename']).name}:{each['location']['row']}" for each in json.loads(told)["findings"]]


def test_a_finding_on_lines_that_have_not_changed_is_left_out(project: Path) -> None:
    commit_all(project)
    assert lint("--diff-base", "HEAD") == (
        "All checks passed.\n1 finding on lines that have not changed since HEAD is not shown.\n"
    )
    Path("a.py").write_text(f"# above\n{BROKEN}\n\n{SECOND}")
    assert found() == [f"a.py:{1 + ROW + BEHIND}"]


def test_any_row_of_the_finding_or_a_deletion_within_it_counts(project: Path) -> None:
    spread = BROKEN.replace(VIEW, ".view(\n            b,\n            # tokens\n            t,\n            c)")
    Path("a.py").write_text(spread)
    commit_all(project)
    whole = ["--select", "MHA201"]
    text = spread.replace("return self.out_proj(y), weights", "return self.out_proj(y)")
    Path("a.py").write_text(text)
    subprocess.run(["git", "commit", "-qam", "x", "--no-verify"], check=True, env=_identity())
    assert found(*whole) == []
    Path("a.py").write_text(text.replace("dim=-1)", "dim=-1)  # changed"))
    assert found(*whole) == [f"a.py:{ROW - 1}"]


def _identity() -> dict[str, str]:
    import os

    names = {"NAME": "t", "EMAIL": "t@example.org"}
    return {
        **os.environ,
        **{f"GIT_{who}_{key}": value for who in ("AUTHOR", "COMMITTER") for key, value in names.items()},
    }


def test_new_files_count_wholly_and_renamed_ones_by_their_changes(project: Path) -> None:
    Path("b.py").write_text(f"{BROKEN}\n\n{SECOND}")
    commit_all(project)
    Path("untracked.py").write_text(BROKEN)
    Path("staged.py").write_text(BROKEN.replace("dim: int = 24", "dim: int = 48"))
    subprocess.run(["git", "mv", "b.py", 'with "quotes" é.py'], check=True)
    subprocess.run(["git", "add", "staged.py"], check=True)
    assert found() == [f"staged.py:{ROW}", f"untracked.py:{ROW}"]
    renamed = Path('with "quotes" é.py')
    renamed.write_text(renamed.read_text().replace(VIEW, f"{VIEW}  # changed", 1))
    assert f"{renamed.name}:{ROW}" in found()
    assert len(found()) == 3


def test_lines_that_look_like_headers_of_a_diff_are_lines(project: Path) -> None:
    text = BROKEN + '\nTEXT = """\n++ b/x.py\n-- a/x.py\n@@ -1 +1 @@\n"""\n'
    Path("a.py").write_text(text)
    commit_all(project)
    Path("a.py").write_text(text.replace("++ b/x.py\n-- a/x.py\n", "-- a/x.py\n++ b/x.py\n") + SECOND)
    assert found() == [f"a.py:{ROW + BEHIND + 4}"]


def test_the_settings_of_git_do_not_matter(project: Path) -> None:
    commit_all(project)
    for key, value in {
        "diff.noprefix": "true", "diff.external": "false", "color.ui": "always", "diff.interHunkContext": "100",
        "diff.mnemonicPrefix": "true", "core.quotepath": "true", "diff.relative": "true",
    }.items():  # fmt: skip
        subprocess.run(["git", "config", key, value], check=True)
    Path("sub").mkdir()
    Path("a.py").write_text(f"{BROKEN}\n\n{SECOND}")
    assert found() == [f"a.py:{ROW + BEHIND}"]


def test_of_a_notebook_the_changed_cells_count(project: Path) -> None:
    text = (ROOT / "examples/nine_ways_to_attend.ipynb").read_text("utf-8")
    Path("a.ipynb").write_text(text, "utf-8")
    commit_all(project)
    assert found("a.ipynb") == []
    Path("a.ipynb").write_text(json.dumps(json.loads(text)), "utf-8")
    assert found("a.ipynb") == []
    Path("a.ipynb").write_text(
        text.replace("        return self.proj(scores.softmax", "\\n        return self.proj(scores.softmax"), "utf-8"
    )
    assert len(found("a.ipynb")) == 1
    told = lint("a.ipynb", "--diff-base", "HEAD", "--output-format", "concise", status=1)
    assert told.startswith("a.ipynb:cell 6:")


def test_it_goes_with_a_baseline(project: Path) -> None:
    commit_all(project)
    Path("a.py").write_text(BROKEN.replace(VIEW, f"{VIEW}  # changed"))
    lint("--write-baseline", "known.json")
    told = lint("--diff-base", "HEAD", "--baseline", "known.json")
    assert told == "All checks passed.\n1 finding of the baseline known.json is not shown.\n"


def test_fixes_leave_lines_alone_that_have_not_changed(project: Path) -> None:
    pytest.importorskip("torch")
    commit_all(project)
    Path("a.py").write_text(f"{BROKEN}\n\n{SECOND}")
    told = lint("--diff-base", "HEAD", "--fix", "--device", "cpu")
    assert "Found 1 finding (1 error): 1 fixed" in told
    assert Path("a.py").read_text() == f"{BROKEN}\n\n{SECOND.replace(VIEW, f'.contiguous(){VIEW}')}"


def test_no_repository_and_an_unknown_revision_are_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lint("--diff-base", "HEAD", status=2) == f"error: --diff-base: {project} is not in a git repository\n"
    commit_all(project)
    for revision in ("nowhere", "--output=x", ""):
        told = lint(f"--diff-base={revision}", status=2)
        assert told == f"error: --diff-base: unknown revision {revision!r} in {project}\n"
    told = lint("--diff-base", "HEAD", "-", stdin=FIXED, status=2)
    assert told == "error: --diff-base compares files with git: it cannot be combined with - (stdin)\n"
    python = Path(__import__("sys").executable).parent
    monkeypatch.setenv("PATH", str(python / "nothing"))
    assert lint("--diff-base", "HEAD", status=2) == "error: --diff-base needs git, which is not installed\n"
