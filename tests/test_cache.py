"""The lint cache: what it keeps, what it tells apart, and that it stays small."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from mha_lint.cache import LintCache, prepare, trim
from mha_lint.files import Source
from mha_lint.findings import Edit, Finding, Fix, Position
from mha_lint.settings import Settings

HERE = Position(3, 5)
FIX = Fix(
    "safe",
    "extended",
    "add",
    (Edit(HERE, Position(4, 1), "x\r\n漢"),),
    flagged=(3, 4),
    added=("a.weight", "a.bias"),
    identity=("b.weight",),
)
FINDING = Finding("MHA001", "name", "error", "message", "why", "a.py", HERE, Position(3, 9), "A.f", 3, FIX)
FINDINGS = (FINDING, replace(FINDING, fix=None, no_fix_reason="no room"))
SOURCE = Source(Path("a.py"), "x = 1\n", "utf-8", False, b"x = 1\n")
SETTINGS = Settings(root=Path("/"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    prepared = prepare(tmp_path)
    assert prepared is not None
    return prepared


def test_findings_come_back_as_they_were(folder: Path) -> None:
    cache = LintCache(folder, SETTINGS)
    assert cache.load(SOURCE) is None
    cache.store(SOURCE, FINDINGS)
    assert LintCache(folder, SETTINGS).load(SOURCE) == FINDINGS


@pytest.mark.parametrize(
    ("source", "settings"),
    [
        (replace(SOURCE, data=b"x = 2\n"), SETTINGS),
        (replace(SOURCE, path=Path("b.py")), SETTINGS),
        (SOURCE, replace(SETTINGS, view_fix="reshape")),
        (SOURCE, replace(SETTINGS, per_file_ignores={"a.py": ("MHA001",)})),
        (SOURCE, replace(SETTINGS, root=Path("/elsewhere"))),
    ],
)
def test_other_bytes_paths_and_settings_are_told_apart(folder: Path, source: Source, settings: Settings) -> None:
    LintCache(folder, SETTINGS).store(SOURCE, FINDINGS)
    assert LintCache(folder, settings).load(source) is None


def test_another_version_of_the_tool_starts_afresh(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    LintCache(folder, SETTINGS).store(SOURCE, FINDINGS)
    monkeypatch.setattr("mha_lint.__version__", "999")
    assert LintCache(folder, SETTINGS).load(SOURCE) is None


def test_the_oldest_entries_go_when_the_folder_grows_beyond_its_limit(folder: Path) -> None:
    for age, name in enumerate(("new", "old", "oldest")):
        for kind in ("lint", "evidence"):
            file = folder / kind / f"{name}.json"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(b"x" * 1000)
            os.utime(file, (1_000_000 - age, 1_000_000 - age))
    trim(folder, limit=2500)
    assert sorted(file.name for file in folder.rglob("*.json")) == ["new.json", "new.json"]
    assert (folder / "CACHEDIR.TAG").exists()
    assert (folder / ".gitignore").exists()


def test_a_full_disk_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace_fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mha_lint.cache.os.replace", replace_fails)
    LintCache(folder, SETTINGS).store(SOURCE, FINDINGS)
    monkeypatch.undo()
    assert LintCache(folder, SETTINGS).load(SOURCE) is None
    assert not [name for _, _, names in os.walk(folder / "lint") for name in names], "no temporary file stays behind"
