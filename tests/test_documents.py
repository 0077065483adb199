"""What the pages for those who carry on say of the code is so: folders, files, names, commands, links, versions."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import ROOT

import mha_lint
from mha_lint import cli
from mha_lint.report.formats import FORMATS
from mha_lint.validation.torch_versions import OLDEST

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "examples/README.md"]
README = (ROOT / "README.md").read_text("utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text("utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text("utf-8")
VERSIONING = (ROOT / "docs/versioning.md").read_text("utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))

CODE = ("mha_lint", "fixers", "tests", "docs", "examples")
SPOKEN = [path for folder in ("", "rules", "report") for path in sorted((ROOT / "mha_lint" / folder).glob("*.py"))]
KINDS_OF_CHANGES = {
    "Breaking changes",
    "Added",
    "Changed",
    "Deprecated",
    "Removed",
    "Fixed",
    "Security",
}  # Keep a Changelog's, and ruff's first


def quoted(text: str) -> list[str]:
    """The texts between backticks, outside fenced blocks."""
    plain = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", plain)


def paths_in(text: str) -> list[str]:
    """The paths of this repository that a page names, without those that a reader is to fill in."""
    words = [word for quote in quoted(text) for word in quote.split()]
    return [word for word in words if word.split("/")[0] in CODE and "/" in word and "<" not in word]


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", without_code(page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def folders_with_code() -> Iterator[str]:
    """The folders of the repository that hold Python files, but for those of the corpus and of single incidents."""
    for top in CODE:
        folders = [ROOT / top, *(path for path in (ROOT / top).rglob("*") if path.is_dir())]
        for folder in folders:
            name = folder.relative_to(ROOT).as_posix()
            if any(folder.glob("*.py")) and not name.startswith(("tests/corpus/", "tests/incidents/")):
                yield f"{name}/"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_to_a_file_of_the_repository_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(file), f"{page.name}: {target}"


def test_the_architecture_page_has_a_row_for_each_folder_and_no_other() -> None:
    rows = re.findall(r"^\| `([^`]+/)` \|", ARCHITECTURE, re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert set(rows) == {*folders_with_code(), "docs/rules/", "tests/corpus/", "tests/incidents/"}


@pytest.mark.parametrize("text", [ARCHITECTURE, CONTRIBUTING], ids=["architecture", "CONTRIBUTING"])
def test_every_path_that_these_pages_name_exists(text: str) -> None:
    paths = paths_in(text)
    assert len(paths) > 10
    for path in paths:
        assert (ROOT / path).exists(), path


def test_every_constant_that_a_recipe_names_stands_in_the_file_that_it_names() -> None:
    """A row of a recipe names a file, and behind it the tables and functions of that file."""
    checked = 0
    for row in re.findall(r"^\| \d+ \|.*$", CONTRIBUTING, re.MULTILINE):
        _, _, place, content, _ = row.split("|")
        files = [ROOT / path for path in paths_in(place) if path.endswith(".py")]
        tables = [name for name in quoted(content) if re.fullmatch(r"_?[A-Z][A-Z_]+", name) and name != "CODE"]
        if not files:
            continue
        for table in tables:
            assert any(re.search(rf"\b{table}\b", file.read_text("utf-8")) for file in files), row
            checked += 1
    assert checked >= 6


def test_every_command_of_the_recipes_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = re.findall(r"\bmake ((?:[a-z-]+ ?)+)", "\n".join([*quoted(CONTRIBUTING), *blocks(CONTRIBUTING)]))
    words = {word for names in named for word in names.split()}
    assert {"test", "test-fast", "lint", "demo"} <= words
    assert words <= targets


def blocks(text: str) -> list[str]:
    """The commands in fenced blocks, without their comments."""
    fenced = "".join(re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    return [line.partition("#")[0] for line in fenced.splitlines()]


def test_what_a_rule_reads_of_the_model_is_there() -> None:
    from mha_lint.model.attention import FileModel

    named = re.findall(r"`model\.(\w+)`", CONTRIBUTING)
    assert named
    assert set(named) <= set(FileModel.__struct_fields__)


def test_the_changelog_begins_with_what_is_unreleased_and_has_this_version() -> None:
    versions = re.findall(r"^## \[([^\]]+)\](?: - \d{4}-\d\d-\d\d)?$", CHANGELOG, re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert mha_lint.__version__ in versions
    assert len(versions) == len(re.findall(r"^## ", CHANGELOG, re.MULTILINE)), "each heading is a version"
    assert set(re.findall(r"^### (.*)$", CHANGELOG, re.MULTILINE)) <= KINDS_OF_CHANGES
    for version in versions:
        assert re.search(rf"^\[{re.escape(version)}\]: https://", CHANGELOG, re.MULTILINE), version


def test_the_versioning_page_tells_every_exit_status_and_the_oldest_versions() -> None:
    statuses = (cli.CLEAN, cli.FINDINGS, cli.FAILED, cli.INTERRUPTED, cli.PIPE_CLOSED, cli.TERMINATED)
    for status in statuses:
        assert re.search(rf"\b{status}: ", VERSIONING), status
    assert f"| Python | {PYPROJECT['project']['requires-python'].removeprefix('>=')} and newer |" in VERSIONING
    extras = PYPROJECT["project"]["optional-dependencies"]
    for name, package in (("torch, to execute code", "torch"), ("flake8, for the plugin", "flake8")):
        (requirement,) = extras[package]
        assert f"| {name} | {requirement.removeprefix(f'{package}>=')} and newer |" in VERSIONING
    assert extras["torch"] == [f"torch>={OLDEST}"]
    assert f'additional_dependencies: ["torch>={OLDEST}"]' in (ROOT / ".pre-commit-hooks.yaml").read_text("utf-8")


def test_the_readme_names_every_output_format() -> None:
    (sentence,) = re.findall(r"`--output-format`\s+is one of (.*?)\. ", README, re.DOTALL)
    assert tuple(quoted(sentence)) == tuple(FORMATS)


def test_every_hook_and_action_that_a_page_shows_is_that_of_this_version() -> None:
    pinned = re.compile(r"^ *rev: (\S+)|mha-lint/mha-lint@(\S+)", re.MULTILINE)
    revisions = {
        page.relative_to(ROOT).as_posix(): ["".join(each) for each in pinned.findall(page.read_text("utf-8"))]
        for page in PAGES
    }
    assert revisions["README.md"]
    for page, shown in revisions.items():
        assert set(shown) <= {f"v{mha_lint.__version__}"}, page


def test_the_readme_tells_as_many_trials_as_its_example_shows() -> None:
    shown = re.findall(r"= validated: module · cpu (\d+)/\1 ", README)
    assert shown
    assert re.findall(r"in (\d+) trials on the CPU", README) == shown


@pytest.mark.parametrize("path", SPOKEN, ids=lambda path: path.relative_to(ROOT / "mha_lint").as_posix())
def test_no_docstring_begins_with_a_question_word_in_place_of_a_sentence(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            text = ast.get_docstring(node) or ""
            assert not re.match(r"(?:Whether|How|Which) ", text), text.splitlines()[0]
