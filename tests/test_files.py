"""Which files are taken, how they are read, and that writing is all or nothing."""

from __future__ import annotations

import codecs
import os
import stat
import subprocess
from pathlib import Path

import pytest

from mha_lint import files
from mha_lint.configuration import Configuration
from mha_lint.discovery import discover
from mha_lint.files import DEFAULT_EXCLUDE, SourceError, decode, read_source, write_source
from mha_lint.settings import Settings


def found(*paths: Path, root: Path, exclude: tuple[str, ...] = DEFAULT_EXCLUDE) -> list[str]:
    items = discover(paths, Configuration(Settings(exclude=exclude, root=root)))
    return [str(item) if isinstance(item, SourceError) else item.relative_to(root).as_posix() for item in items]


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")


# --- finding files


def test_folders_are_walked_for_python_files_and_notebooks_in_a_stable_order(tmp_path: Path) -> None:
    make(tmp_path, "b.py", "a/z.py", "a.pyi", "c.txt", "a/b/c.py", "notebook.ipynb")
    assert found(tmp_path, root=tmp_path) == ["a.pyi", "b.py", "notebook.ipynb", "a/z.py", "a/b/c.py"]


def test_files_given_by_name_are_always_taken_and_only_once(tmp_path: Path) -> None:
    make(tmp_path, ".venv/lib.py", "script", "a.py")
    named = tmp_path / ".venv/lib.py"
    assert found(named, tmp_path / "script", named, tmp_path, root=tmp_path) == [".venv/lib.py", "script", "a.py"]


@pytest.mark.parametrize("folder", [".git", ".venv", "build", "node_modules", ".mha_lint_cache"])
def test_folders_that_hold_no_source_are_passed_by(tmp_path: Path, folder: str) -> None:
    make(tmp_path, f"{folder}/a.py", f"deep/{folder}/a.py", "b.py")
    assert found(tmp_path, root=tmp_path) == ["b.py"]


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("a.py", ["b_test.py", "docs/b.py", "docs/api/b.py"]),
        ("*_test.py", ["a.py", "docs/a.py", "docs/b.py", "docs/api/b.py"]),
        ("docs", ["a.py", "b_test.py"]),
        ("docs/", ["a.py", "b_test.py"]),
        ("docs/b.py", ["a.py", "b_test.py", "docs/a.py", "docs/api/b.py"]),
        ("docs/*.py", ["a.py", "b_test.py"]),
        ("./docs/api", ["a.py", "b_test.py", "docs/a.py", "docs/b.py"]),
    ],
)
def test_exclude_fits_names_and_paths_relative_to_the_project(tmp_path: Path, pattern: str, left: list[str]) -> None:
    make(tmp_path, "a.py", "b_test.py", "docs/a.py", "docs/b.py", "docs/api/b.py")
    assert found(tmp_path, root=tmp_path, exclude=(pattern,)) == left


def test_the_same_files_are_ignored_as_git_ignores(tmp_path: Path) -> None:
    make(
        tmp_path,
        "kept.py",
        "gen_a.py",
        "out/a.py",
        "sub/gen_b.py",
        "sub/gen_kept.py",
        "sub/deep/local.py",
        "x/secret.py",
    )
    (tmp_path / ".gitignore").write_text("gen_*.py\n/out/\n# comment\n\n")
    (tmp_path / "sub/.gitignore").write_text("!gen_kept.py\ndeep/*.py\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / ".git/info/exclude").write_text("secret.py\n")
    listing = ["git", "ls-files", "--others", "--exclude-standard", "*.py"]
    by_git = subprocess.run(listing, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.split()
    assert sorted(found(tmp_path, root=tmp_path)) == sorted(by_git) == ["kept.py", "sub/gen_kept.py"]


def test_a_gitignore_above_the_walked_folder_counts(tmp_path: Path) -> None:
    make(tmp_path, "src/pkg/a.py", "src/pkg/generated/b.py")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("src/pkg/generated\n")
    assert found(tmp_path / "src/pkg", root=tmp_path) == ["src/pkg/a.py"]


@pytest.mark.parametrize("folder", ["build", "gen", "gen/deep"])
def test_a_folder_given_by_name_is_walked_even_if_a_walk_would_pass_it_by(tmp_path: Path, folder: str) -> None:
    make(tmp_path, f"{folder}/a.py", f"{folder}/build/b.py")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("gen/\n")
    assert found(tmp_path, root=tmp_path) == []
    assert found(tmp_path / folder, root=tmp_path) == [f"{folder}/a.py"]


def test_links_pipes_and_folders_that_look_like_files_do_no_harm(tmp_path: Path) -> None:
    make(tmp_path, "x.py/inner.py", "real.py")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "broken.py").symlink_to("nowhere")
    (tmp_path / "self.py").symlink_to("self.py")
    (tmp_path / "again.py").symlink_to("real.py")
    os.mkfifo(tmp_path / "pipe.py")
    assert found(tmp_path, root=tmp_path) == ["real.py", "x.py/inner.py"]


def test_a_file_with_several_names_is_taken_under_its_own(tmp_path: Path) -> None:
    make(tmp_path, "src/real.py")
    for link, target in (("link.py", "src/real.py"), ("linked", "src")):
        (tmp_path / link).symlink_to(target)
    link, linked, real = (tmp_path / name for name in ("link.py", "linked/real.py", "src/real.py"))
    for names in ((link, real), (real, link), (link, linked, real), (tmp_path / "linked", tmp_path / "src")):
        assert found(*names, root=tmp_path) == ["src/real.py"]
    assert found(linked, link, root=tmp_path) == ["linked/real.py"]


def test_force_exclude_holds_for_what_is_given_by_name_too(tmp_path: Path) -> None:
    make(tmp_path, "gen/deep/a.py", "b.py", "c.py")
    given = [tmp_path / name for name in ("gen/deep/a.py", "gen/deep", "b.py", "c.py")]
    configuration = Configuration(Settings(exclude=("gen", "c.*"), root=tmp_path))
    assert discover(given, configuration, force_exclude=True) == [tmp_path / "b.py"]
    assert len(discover(given, configuration)) == 3


@pytest.mark.parametrize(("name", "message"), [("none.py", "no such file"), ("broken.py", "broken symbolic link")])
def test_a_path_that_is_not_there_is_an_error_that_names_it(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "broken.py").symlink_to("nowhere")
    (only,) = found(tmp_path / name, root=tmp_path)
    assert only.startswith(f"{tmp_path / name}: {message}")


def test_a_folder_that_cannot_be_read_is_an_error_and_the_walk_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "a.py", "locked/b.py", "open/c.py")
    real = os.scandir

    def scandir(path: Path) -> os._ScandirIterator[str]:  # root may read everything, so permissions can't do it
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(files.os, "scandir", scandir)
    assert found(tmp_path, root=tmp_path) == [
        "a.py",
        f"{tmp_path}/locked: cannot be read: permission denied",
        "open/c.py",
    ]


# --- reading


@pytest.mark.parametrize(
    ("data", "text", "encoding", "bom"),
    [
        (b"", "", "utf-8", False),
        ("é = 1\r\n".encode(), "é = 1\r\n", "utf-8", False),
        (codecs.BOM_UTF8 + b"x = 1\n", "x = 1\n", "utf-8", True),
        ("# coding: latin-1\né = 1".encode("latin-1"), "# coding: latin-1\né = 1", "iso-8859-1", False),
        ("#!x\r# coding: cp1252\r€ = 1".encode("cp1252"), "#!x\r# coding: cp1252\r€ = 1", "cp1252", False),
    ],
)
def test_source_is_decoded_as_python_decodes_it(data: bytes, text: str, encoding: str, bom: bool) -> None:
    source = decode(Path("x.py"), data)
    assert (source.text, source.encoding, source.bom, source.data) == (text, encoding, bom, data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"x = 1\n\0\0", "x.py:2: is a binary file, not Python (it holds a zero byte)"),
        (b"ok = 1\n# \xe9\n", "x.py:2: is not valid utf-8 (byte 0xe9); name its encoding in a coding line"),
        (b"\n\n\n# \xe9\n", "x.py:4: is not valid utf-8 (byte 0xe9); name its encoding in a coding line"),
        (b"# coding: klingon\n", "x.py: names an unknown encoding: klingon in its coding line"),
        (b"# coding: hex\n", "x.py: names 'hex' in its coding line, which is not a text encoding"),
        (codecs.BOM_UTF8 + b"# coding: latin-1\n", "x.py:1: has a coding line that contradicts its byte order mark"),
        ("x = 1".encode("utf-16"), "x.py: is UTF-16; Python source must be UTF-8"),
        *(
            (
                f"# coding: {name}\nx = 1\n".encode(),
                f"x.py: names '{name}' in its coding line, an encoding that can't hold",
            )
            for name in ("utf-16", "utf-16-le", "utf-32", "cp037")
        ),
        (b"# coding: ascii\nx = '\xe9'\n", "x.py:2: is not valid ascii (byte 0xe9)"),
    ],
)
def test_what_cannot_be_decoded_gets_one_line_that_says_where_and_why(data: bytes, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        decode(Path("x.py"), data)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"x\.py: cannot be read: is a directory"):
        read_source((tmp_path / "x.py").mkdir() or tmp_path / "x.py")


# --- writing


@pytest.mark.parametrize(
    "data",
    [
        b"x = 1\r\ny = 2\n",
        codecs.BOM_UTF8 + "é = 1\n".encode(),
        "# coding: latin-1\né = 1\n".encode("latin-1"),
        b"\x0cx = 1\ry = 2\r\n\tz = 3",
    ],
)
def test_bytes_that_no_edit_touches_survive(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "a.py"
    file.write_bytes(data)
    source = read_source(file)
    write_source(source, source.text.replace("= 1", "= 100"))
    assert file.read_bytes() == data.replace(b"= 1", b"= 100")


@pytest.mark.parametrize("mode", [0o644, 0o755, 0o600])
def test_permissions_survive(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "a.py"
    file.write_text("x = 1\n")
    file.chmod(mode)
    write_source(read_source(file), "x = 2\n")
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("x = 2\n", mode)


def test_a_symbolic_link_stays_a_link_and_its_target_is_rewritten(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/real.py").write_text("x = 1\n")
    (tmp_path / "link.py").symlink_to("sub/real.py")
    write_source(read_source(tmp_path / "link.py"), "x = 2\n")
    assert (tmp_path / "link.py").is_symlink()
    assert (tmp_path / "sub/real.py").read_text() == "x = 2\n"


def test_hard_links_stay_links_to_the_same_file(tmp_path: Path) -> None:
    file, other = tmp_path / "a.py", tmp_path / "b.py"
    for before, after in (("x = 1\n", "x = 1000\n"), ("x = 1000\n", "x = 1\n")):
        file.write_text(before)
        if not other.exists():
            os.link(file, other)
        write_source(read_source(file), after)
        assert file.samefile(other)
        assert file.read_text() == other.read_text() == after
        assert sorted(os.listdir(tmp_path)) == ["a.py", "b.py"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_file_with_hard_links_gets_its_old_bytes_back_when_writing_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    file, other = tmp_path / "a.py", tmp_path / "b.py"
    file.write_text("x = 1\n")
    os.link(file, other)
    source = read_source(file)
    real, calls = os.fsync, []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:  # the first is the temporary file's, the third puts back what was
            raise error
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", fsync)
    with pytest.raises((KeyboardInterrupt, SourceError)):
        write_source(source, "x = 22222\n")
    assert len(calls) == 3
    assert file.read_text() == other.read_text() == "x = 1\n"
    assert sorted(os.listdir(tmp_path)) == ["a.py", "b.py"]


def test_a_file_that_changed_since_it_was_read_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("x = 1\n")
    source = read_source(file)
    file.write_text("x = 'edited meanwhile'\n")
    with pytest.raises(SourceError, match="changed on disk"):
        write_source(source, "x = 2\n")
    assert file.read_text() == "x = 'edited meanwhile'\n"
    assert os.listdir(tmp_path) == ["a.py"]


def test_a_read_only_file_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("x = 1\n")
    file.chmod(0o444)
    with pytest.raises(SourceError, match="read-only"):
        write_source(read_source(file), "x = 2\n")
    assert file.read_text() == "x = 1\n"


@pytest.mark.parametrize(
    ("data", "text", "message"),
    [
        (
            b"# coding: latin-1\n",
            "# coding: latin-1\n# 漢字\n",
            "cannot hold the fix in its encoding iso-8859-1",
        ),
        (b"# coding: utf-7\nx = '+AGE-'\n", "# coding: utf-7\nx = 1\n", "byte for byte"),
    ],
)
def test_text_that_its_encoding_cannot_hold_is_not_written(
    tmp_path: Path, data: bytes, text: str, message: str
) -> None:
    file = tmp_path / "a.py"
    file.write_bytes(data)
    with pytest.raises(SourceError, match=message):
        write_source(read_source(file), text)
    assert file.read_bytes() == data


@pytest.mark.parametrize("step", ["fsync", "replace", "chmod"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_interrupted_at_any_step_the_file_is_wholly_old_and_nothing_else_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    file = tmp_path / "a.py"
    file.write_text("x = 1\n")
    source = read_source(file)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(files.os, step, fail)
    with pytest.raises((KeyboardInterrupt, SourceError)):
        write_source(source, "x = 2\n")
    monkeypatch.undo()
    assert file.read_text() == "x = 1\n"
    assert os.listdir(tmp_path) == ["a.py"]
