"""The pre-commit hooks, under the real ``pre-commit try-repo``."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from checkout import commit_all, copy_to
from notebooks import broken
from samples import BROKEN, CLEAN, FIXED

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository of this one's files."""
    folder = copy_to(tmp_path_factory.mktemp("hooks") / "mha-lint")
    commit_all(folder)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pre-commit-home")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A user's git repository with a broken file and a broken notebook."""
    (tmp_path / "broken.py").write_text(BROKEN)
    (tmp_path / "clean.py").write_text(CLEAN)
    (tmp_path / "broken.ipynb").write_text(broken())
    (tmp_path / "pyproject.toml").write_text('[tool.mha-lint]\nextend-exclude = ["vendored.py"]\n')
    (tmp_path / "vendored.py").write_text(BROKEN)
    (tmp_path / "notes.txt").write_text("x.transpose(1, 2).view(b, t, c)\n")
    commit_all(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the torch of this environment as a wheel, which only points to it: the real one fills a disk."""
    torch = pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("wheels")
    version = f"{torch.__version__.partition('+')[0]}+here"
    info = f"torch-{version}.dist-info"
    with zipfile.ZipFile(folder / f"torch-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("torch_of_the_tests.pth", f"{Path(torch.__file__).parents[1]}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    (folder / "constraints.txt").write_text(f"torch=={version}\n")
    return folder


STAGED = "staged"  # what a commit would hold; what is not staged is put aside meanwhile


def git(project: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=project, check=True, capture_output=True, text=True).stdout


def fixed_notebook() -> str:
    return broken().replace(".transpose(1, 2).view(", ".transpose(1, 2).contiguous().view(")


def try_repo(
    hooks: Path, home: Path, wheels: Path, project: Path, hook: str, *files: str
) -> subprocess.CompletedProcess[str]:
    """Run a hook on all files, or as a commit does on what is staged."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {
        "PRE_COMMIT_HOME": str(home),
        "PIP_FIND_LINKS": str(wheels),
        "PIP_CONSTRAINT": str(wheels / "constraints.txt"),  # the torch that is tested here
        "CUDA_VISIBLE_DEVICES": "",
    }
    chosen = files or ("--all-files",)
    command = [sys.executable, "-m", "pre_commit", "try-repo", str(hooks), hook, "--verbose"]
    command += [option for option in chosen if option != STAGED]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=900)


def test_the_check_hook_fails_on_findings_and_passes_without(
    hooks: Path, home: Path, wheels: Path, project: Path
) -> None:
    done = try_repo(hooks, home, wheels, project, "mha-lint")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "broken.py:" in done.stdout
    assert "broken.ipynb:cell 3:" in done.stdout
    assert "MHA001" in done.stdout
    assert "vendored.py" not in done.stdout
    (project / "broken.py").write_text(FIXED)
    (project / "broken.ipynb").write_text(fixed_notebook())
    done = try_repo(hooks, home, wheels, project, "mha-lint")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_fix_hook_fixes_validates_and_fails_so_that_the_change_is_seen(
    hooks: Path, home: Path, wheels: Path, project: Path
) -> None:
    done = try_repo(hooks, home, wheels, project, "mha-lint-fix")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "files were modified by this hook" in done.stdout
    assert "2 fixed (validated on cpu)" in done.stdout
    assert (project / "broken.py").read_text() == FIXED
    assert (project / "broken.ipynb").read_text() == fixed_notebook()
    assert (project / "clean.py").read_text() == CLEAN
    assert (project / "vendored.py").read_text() == BROKEN
    done = try_repo(hooks, home, wheels, project, "mha-lint-fix")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("hook", ["mha-lint", "mha-lint-fix"])
def test_a_commit_without_python_or_only_of_deleted_files_is_passed_by(
    hook: str, hooks: Path, home: Path, wheels: Path, project: Path
) -> None:
    (project / "notes.txt").write_text("changed\n")
    git(project, "add", "notes.txt")
    git(project, "rm", "-q", "broken.py", "broken.ipynb")
    done = try_repo(hooks, home, wheels, project, hook, STAGED)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "(no files to check)Skipped" in done.stdout


def test_the_check_hook_reads_what_is_staged_under_any_name(
    hooks: Path, home: Path, wheels: Path, project: Path
) -> None:
    git(project, "mv", "broken.py", "renamed.py")
    (project / "ein ä 注意.py").write_text(BROKEN)
    (project / "a notebook.ipynb").write_text(broken())
    (project / "staged broken.py").write_text(BROKEN)
    (project / "staged fixed.py").write_text(FIXED)
    git(project, "add", "-A")
    (project / "staged broken.py").write_text(FIXED)
    (project / "staged fixed.py").write_text(BROKEN)
    done = try_repo(hooks, home, wheels, project, "mha-lint", STAGED)
    assert done.returncode == 1, done.stdout + done.stderr
    found = {line.partition(".py:")[0] for line in done.stdout.splitlines() if ".py:" in line and "MHA001" in line}
    assert found == {"renamed", "ein ä 注意", "staged broken"}
    assert "a notebook.ipynb:cell 3:" in done.stdout
    assert (project / "staged broken.py").read_text() == FIXED
    assert (project / "staged fixed.py").read_text() == BROKEN


def test_the_fix_hook_fixes_what_is_staged_and_keeps_what_is_not(
    hooks: Path, home: Path, wheels: Path, project: Path
) -> None:
    (project / "ein ä 注意.py").write_text(BROKEN)
    (project / "partly.py").write_text(f"# one\n{BROKEN}# last\n")
    git(project, "mv", "broken.py", "renamed.py")
    git(project, "add", "-A")
    (project / "partly.py").write_text(f"# edited since\n{BROKEN}# last\n")
    done = try_repo(hooks, home, wheels, project, "mha-lint-fix", STAGED)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "3 fixed (validated on cpu)" in done.stdout
    assert (project / "ein ä 注意.py").read_text() == FIXED
    assert (project / "renamed.py").read_text() == FIXED
    assert (project / "partly.py").read_text() == f"# edited since\n{FIXED}# last\n"
    assert git(project, "show", ":partly.py") == f"# one\n{BROKEN}# last\n", "the fix is not staged unasked"


def test_a_fix_that_meets_an_edit_that_is_not_staged_gives_way(
    hooks: Path, home: Path, wheels: Path, project: Path
) -> None:
    (project / "partly.py").write_text(BROKEN)
    git(project, "add", "partly.py")
    edited = BROKEN.replace("(weights @ v).transpose(1, 2).view(", "(weights @ (v + 0)).transpose(1, 2).view(")
    (project / "partly.py").write_text(edited)
    done = try_repo(hooks, home, wheels, project, "mha-lint-fix", STAGED)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Rolling back fixes" in done.stdout + done.stderr
    assert (project / "partly.py").read_text() == edited
