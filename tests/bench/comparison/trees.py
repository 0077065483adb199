"""A version of this tool, laid out in a folder as an installation would lay it out."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[3]
_NEEDED = ("mha_lint", "fixers", "pyproject.toml")


def laid_out(version: str, folder: Path, repository: Path = ROOT) -> Path:
    """Lay a version out in ``folder``, which must not exist yet, and return it.

    ``version`` is a folder with a checkout, or else a commit of the ``repository``. The rules and fixers are those that
    its pyproject.toml names, whatever is installed beside it. Raises ValueError where there is no such version.
    """
    folder.mkdir(parents=True)
    checkout = Path(version)
    if not checkout.is_dir():
        checkout = folder / "checkout"
        _extract(version, checkout, repository)
    if not (checkout / "mha_lint").is_dir():
        raise ValueError(f"{version}: holds no mha_lint folder")
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(checkout / "mha_lint", folder / "mha_lint", ignore=unwanted)
    if (checkout / "fixers").is_dir():  # the folder lies at the top of the repository, the package inside of mha_lint
        shutil.copytree(checkout / "fixers", folder / "mha_lint" / "fixers", ignore=unwanted)
    _write_metadata(checkout / "pyproject.toml", folder / "mha_lint-0.dist-info")
    return folder


def _extract(commit: str, folder: Path, repository: Path) -> None:
    archive = subprocess.run(["git", "archive", commit, *_NEEDED], cwd=repository, capture_output=True)
    if archive.returncode:
        raise ValueError(f"{commit}: git has no such version here: {archive.stderr.decode(errors='replace').strip()}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        if sys.version_info >= (3, 12):
            files.extractall(folder, filter="data")
        else:
            files.extractall(folder)


def _write_metadata(pyproject: Path, folder: Path) -> None:
    """Write what an installation says of itself; Python takes the first of a name that it finds on its path."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    rows: list[str] = []
    for group, points in project["entry-points"].items():
        rows.append(f"[{group}]")
        rows += [f"{name} = {target}" for name, target in points.items()]
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: mha-lint\nVersion: 0\n", encoding="utf-8")
    (folder / "entry_points.txt").write_text("\n".join([*rows, ""]), encoding="utf-8")
