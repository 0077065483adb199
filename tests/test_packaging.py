"""The package as people get it: a wheel, and an editable installation, each in a fresh environment without torch."""

from __future__ import annotations

import importlib
import os
import runpy
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from types import ModuleType
from typing import get_origin

import pytest
from checkout import ROOT, copy_to
from samples import BROKEN

import mha_lint
from mha_lint.rules import Rule

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_to(tmp_path_factory.mktemp("checkout") / "mha-lint")


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), cwd=checkout)
    (made,) = folder.glob("*.whl")
    return made


def run(*command: str, cwd: Path, status: int = 0) -> str:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_every_package_is_listed() -> None:
    folders = {init.parent.relative_to(ROOT) for init in (ROOT / "mha_lint").rglob("__init__.py")}
    packages = {".".join(folder.parts) for folder in folders} | {"mha_lint.fixers"}
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == packages


def test_every_rule_and_fixer_has_its_entry_point_under_its_code() -> None:
    points = PYPROJECT["project"]["entry-points"]
    rules = {}
    for module in modules("mha_lint.rules", ROOT / "mha_lint/rules"):
        for name, value in vars(module).items():
            is_class = isinstance(value, type) and get_origin(value) is None  # list[int] is a type in Python 3.10
            if is_class and issubclass(value, Rule) and value.__module__ == module.__name__:
                rules[value.code] = f"{module.__name__}:{name}"
    assert points["mha_lint.rules"] == rules
    fixers = [each for each in modules("mha_lint.fixers", ROOT / "fixers") if hasattr(each, "fix")]
    assert sorted(points["mha_lint.fixers"].values()) == sorted(f"{each.__name__}:fix" for each in fixers)
    assert points["mha_lint.fixers"].keys() <= rules.keys()


def modules(package: str, folder: Path) -> list[ModuleType]:
    """The modules of a package of rules or fixers, without those that hold what several share."""
    names = sorted(file.stem for file in folder.glob("*.py") if file.stem not in ("__init__", "base"))
    return [importlib.import_module(f"{package}.{name}") for name in names]


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = next(name for name in names if name.endswith("METADATA"))
        text = archive.read(metadata).decode()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"mha_lint", f"mha_lint-{mha_lint.__version__}.dist-info"}
    sources = {f"mha_lint/{file.relative_to(ROOT / 'mha_lint')}" for file in (ROOT / "mha_lint").rglob("*.py")}
    fixers = {f"mha_lint/fixers/{file.name}" for file in (ROOT / "fixers").glob("*.py")}
    assert sources | fixers | {"mha_lint/py.typed"} <= names
    assert f"Version: {mha_lint.__version__}" in text
    required = [line for line in text.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert not [line for line in required if "torch" in line]


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[Path]]:
    """What `make dist` makes, of two checkouts in different folders whose files have other times."""
    script = runpy.run_path(str(ROOT / "release.py"))
    made = []
    for name, time in (("one", 1_600_000_000), ("other", 1_700_000_000)):
        folder = copy_to(tmp_path_factory.mktemp(name) / name)
        for file in folder.rglob("*"):
            os.utime(file, (time, time))
        made.append(script["build"](folder, tmp_path_factory.mktemp("dist") / name, 1_750_000_000))
    return made[0], made[1]


@pytest.mark.slow
def test_a_release_is_built_to_the_same_bytes_twice(released: tuple[list[Path], list[Path]]) -> None:
    one, other = released
    assert [file.name for file in one] == [file.name for file in other]
    assert [file.suffix for file in one] == [".whl", ".gz"]
    for first, second in zip(one, other, strict=True):
        assert first.read_bytes() == second.read_bytes(), first.name


@pytest.mark.slow
@pytest.mark.parametrize("kind", [".whl", ".gz"])
def test_what_is_released_works_in_an_empty_environment(
    kind: str, released: tuple[list[Path], list[Path]], tmp_path: Path
) -> None:
    (file,) = (each for each in released[0] if each.suffix == kind)
    venv.create(tmp_path / "env", with_pip=True)
    run(str(tmp_path / "env/bin/python"), "-m", "pip", "install", "--quiet", str(file), cwd=tmp_path)
    check_installation(tmp_path / "env/bin", tmp_path)


@pytest.mark.slow
def test_wheel_and_editable_installation_both_work_without_torch(wheel: Path, checkout: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = str(tmp_path / "env/bin/python")
    for target in ([str(wheel)], ["--editable", str(checkout)]):
        run(python, "-m", "pip", "install", "--quiet", *target, cwd=tmp_path)
        check_installation(tmp_path / "env/bin", tmp_path)


def check_installation(programs: Path, folder: Path) -> None:
    command = str(programs / "mha-lint")
    python = str(programs / "python")
    assert run(command, "--version", cwd=folder) == f"mha-lint {mha_lint.__version__}\n"
    rules = run(command, "--list-rules", cwd=folder)
    assert all(code in rules for code in PYPROJECT["project"]["entry-points"]["mha_lint.rules"])
    (folder / "broken.py").write_text(BROKEN)
    report = run(command, "broken.py", cwd=folder, status=1)
    assert "= fix (safe, repaired): " in report, "the fixers are found"
    assert 'pip install "mha-lint[torch]"' in run(command, "--fix", "broken.py", cwd=folder, status=2)
    assert (folder / "broken.py").read_text() == BROKEN
    run(python, "-c", "import mha_lint.fixers", cwd=folder)
    assert "No module named 'fixers'" in run(python, "-c", "import fixers", cwd=folder, status=1)
