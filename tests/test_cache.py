"""The lint cache: what it keeps, what it tells apart, and that it stays small."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from mha_lint.cache import SETTLED, Index, LintCache, prepare, trim
from mha_lint.files import Source, digest_of
from mha_lint.findings import PRESENT, Edit, Finding, Fix, Found, Position
from mha_lint.neighbours import listing, texts
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
FOUND = Found(FINDINGS, {})
SOURCE = Source(Path("a.py"), "x = 1\n", "utf-8", False, b"x = 1\n")
SETTINGS = Settings(root=Path("/"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    prepared = prepare(Settings(root=tmp_path))
    assert prepared is not None
    return prepared


def test_findings_come_back_as_they_were(folder: Path) -> None:
    cache = LintCache(folder)
    assert cache.load(SOURCE, SETTINGS) is None
    cache.store(SOURCE, SETTINGS, FOUND)
    assert LintCache(folder).load(SOURCE, SETTINGS) == FOUND


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
    LintCache(folder).store(SOURCE, SETTINGS, FOUND)
    assert LintCache(folder).load(source, settings) is None


def test_another_version_of_the_tool_starts_afresh(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    LintCache(folder).store(SOURCE, SETTINGS, FOUND)
    monkeypatch.setattr("mha_lint.__version__", "999")
    assert LintCache(folder).load(SOURCE, SETTINGS) is None


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
    LintCache(folder).store(SOURCE, SETTINGS, FOUND)
    monkeypatch.undo()
    assert LintCache(folder).load(SOURCE, SETTINGS) is None
    assert not [name for _, _, names in os.walk(folder / "lint") for name in names], "no temporary file stays behind"


# --- the index


@pytest.fixture
def settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file, and a clock that says it was written long ago."""
    now = time.time_ns()
    monkeypatch.setattr("mha_lint.cache.time.time_ns", lambda: now + 10 * SETTLED)
    file = tmp_path / "a.py"
    file.write_text("x = 1\n")
    return file


def test_an_unchanged_file_is_known_by_its_status(folder: Path, settled: Path) -> None:
    index = Index(folder, SETTINGS)
    assert index.load("a.py", settled.stat()) is None
    index.store("a.py", settled.stat(), FINDINGS)
    index.store("b.py", settled.stat(), ())
    index.save()
    again = Index(folder, SETTINGS)
    assert again.load("a.py", settled.stat()) == FINDINGS
    assert again.load("b.py", settled.stat()) == ()
    assert Index(folder, replace(SETTINGS, view_fix="reshape")).load("a.py", settled.stat()) is None
    os.utime(settled, (1, 1))
    assert again.load("a.py", settled.stat()) is None


def test_a_file_that_has_just_changed_is_read_again(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("x = 1\n")
    index = Index(folder, SETTINGS)
    index.store("a.py", file.stat(), FINDINGS)
    assert index.load("a.py", file.stat()) is None


@pytest.mark.parametrize("damage", ["", "[1]", "null", '{"a.py": 1}', '{"a.py": [[], [{}]]}', "\udcff"])
def test_a_broken_index_is_ignored(folder: Path, settled: Path, damage: str) -> None:
    index = Index(folder, SETTINGS)
    index.store("a.py", settled.stat(), FINDINGS)
    index.save()
    (file,) = (folder / "lint").glob("index-*.json")
    file.write_bytes(damage.encode(errors="surrogateescape"))
    assert Index(folder, SETTINGS).load("a.py", settled.stat()) is None


def test_an_entry_counts_while_the_files_that_it_depends_on_hold_what_they_held(folder: Path, tmp_path: Path) -> None:
    there, absent = tmp_path / "layers.py", tmp_path / "other.py"
    there.write_text("x = 1\n")
    depends = {str(there): digest_of(there.read_bytes()), str(absent): None}
    LintCache(folder).store(SOURCE, SETTINGS, Found(FINDINGS, depends))
    assert LintCache(folder).load(SOURCE, SETTINGS) == Found(FINDINGS, depends)
    absent.write_text("")
    assert LintCache(folder).load(SOURCE, SETTINGS) is None
    absent.unlink()
    there.write_text("x = 12\n")
    assert LintCache(folder).load(SOURCE, SETTINGS) is None
    there.write_text("x = 1\n")
    assert LintCache(folder).load(SOURCE, SETTINGS) is not None
    there.unlink()
    assert LintCache(folder).load(SOURCE, SETTINGS) is None


def test_findings_of_an_unchanged_file_count_while_what_it_depends_on_is_unchanged(
    folder: Path, settled: Path, tmp_path: Path
) -> None:
    other, absent = tmp_path / "layers.py", tmp_path / "absent.py"
    other.write_text("")
    index = Index(folder, SETTINGS)
    index.store("a.py", settled.stat(), FINDINGS, [str(other), str(absent)])
    index.save()
    assert Index(folder, SETTINGS).load("a.py", settled.stat()) == FINDINGS
    absent.touch()
    assert Index(folder, SETTINGS).load("a.py", settled.stat()) is None
    absent.unlink()
    os.utime(other, (1, 1))
    assert Index(folder, SETTINGS).load("a.py", settled.stat()) is None


def test_findings_are_not_kept_by_status_while_what_they_depend_on_may_change_again(
    folder: Path, tmp_path: Path
) -> None:
    old = Path(os.__file__)  # a file that changed long ago
    other = tmp_path / "layers.py"
    other.write_text("")
    index = Index(folder, SETTINGS)
    index.store("a.py", old.stat(), FINDINGS)
    assert index.load("a.py", old.stat()) == FINDINGS
    index.store("b.py", old.stat(), FINDINGS, [str(other)])
    assert index.load("b.py", old.stat()) is None


def test_an_entry_counts_while_the_files_around_hold_what_they_held(folder: Path, tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "caller.py").write_text("layer = Attention\n")
    depends = {str(package): listing(texts(str(package)))}
    LintCache(folder).store(SOURCE, SETTINGS, Found(FINDINGS, depends))
    assert LintCache(folder).load(SOURCE, SETTINGS) is not None
    (package / "caller.py").write_text("layer = Reduction\n")
    assert LintCache(folder).load(SOURCE, SETTINGS) is None, "an edit that leaves the size as it is"


def test_an_entry_counts_while_a_file_that_only_has_to_be_there_is_there(folder: Path, tmp_path: Path) -> None:
    there = tmp_path / "__init__.py"
    there.write_text("")
    LintCache(folder).store(SOURCE, SETTINGS, Found(FINDINGS, {str(there): PRESENT}))
    there.write_text("x = 1\n")
    assert LintCache(folder).load(SOURCE, SETTINGS) is not None
    there.unlink()
    assert LintCache(folder).load(SOURCE, SETTINGS) is None
