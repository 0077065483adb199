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


def fixed_notebook() -> str:
    return broken().replace(".transpose(1, 2).view(", ".transpose(1, 2).contiguous().view(")


def try_repo(hooks: Path, home: Path, wheels: Path, project: Path, hook: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {
        "PRE_COMMIT_HOME": str(home),
        "PIP_FIND_LINKS": str(wheels),
        "PIP_CONSTRAINT": str(wheels / "constraints.txt"),  # the torch that is tested here
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [sys.executable, "-m", "pre_commit", "try-repo", str(hooks), hook, "--all-files", "--verbose"]
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
