"""Each key of the settings file changes what the installed command does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT
from installed_command import Project, Register
from samples import BROKEN, CLEAN

from mha_lint.findings import Edit, Fix, Position
from mha_lint.fixers.completing import completed
from mha_lint.settings import Settings, keys

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

shows = Register()
TWO = BROKEN.replace("        qkv = self", "        q, k, v = self").replace(
    "        q, k, v = qkv[0], qkv[1], qkv[2]\n", ""
)
GQA = """\
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim=64, heads=8, groups=2):
        super().__init__()
        self.heads, self.groups, self.width = heads, groups, dim // heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, groups * self.width)
        self.value = nn.Linear(dim, groups * self.width)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        q = self.query(x).view(b, t, self.heads, self.width).transpose(1, 2)
        k = self.key(x).view(b, t, self.groups, self.width).transpose(1, 2)
        v = self.value(x).view(b, t, self.groups, self.width).transpose(1, 2)
        k = k.repeat_interleave(self.heads // self.groups, dim=1)
        v = v.repeat_interleave(self.heads // self.groups, dim=1)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(y.transpose(1, 2).reshape(b, t, c))
"""
SPLIT = """\
def split(x, h):
    b, t, c = x.shape
    return x.view(b, t, h, c // h).transpose(1, 2)
"""
USE = """\
import torch
from heads import split


def f(x: torch.Tensor):
    b, t, c = x.shape
    return split(x, 4).view(b, t, c)
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.write("broken.py", TWO)
    return made


def settings(project: Project, text: str, name: str = "mha-lint.toml") -> None:
    project.write(name, text)


def test_every_key_is_shown() -> None:
    assert shows.shown == keys().keys()


# --- rules


@shows("select", "extend-select", "ignore")
def test_rules_are_selected(project: Project) -> None:
    assert project.codes() == ["MHA002", "MHA001"]
    for text, found in (
        ('select = ["MHA001"]', ["MHA001"]),
        ('select = []\nextend-select = ["unbind-qkv"]', ["MHA002"]),
        ('ignore = ["MHA002"]', ["MHA001"]),
    ):
        settings(project, text)
        assert project.codes() == found, text


@shows("per-file-ignores", "extend-per-file-ignores")
def test_rules_are_left_out_in_some_files(project: Project) -> None:
    settings(project, 'per-file-ignores = { "bro*" = ["MHA001"] }')
    assert project.codes() == ["MHA002"]
    settings(
        project,
        'per-file-ignores = { "!other.py" = ["MHA002"] }\nextend-per-file-ignores = { "broken.py" = ["MHA001"] }',
    )
    assert project.codes() == []


@shows("fixable", "extend-fixable", "unfixable")
def test_fixes_are_chosen(project: Project) -> None:
    for text, left in (
        ('fixable = ["MHA002"]', "MHA001"),
        ('fixable = ["MHA001"]\nextend-fixable = ["MHA002"]', ""),
        ('unfixable = ["MHA002"]', "MHA002"),
    ):
        settings(project, text)
        assert re.findall(r"the settings make (\w+) unfixable", project.run().stdout) == ([left] if left else []), text


@shows("extend-safe-fixes", "extend-unsafe-fixes", "unsafe-fixes")
def test_the_safety_of_fixes_is_chosen(project: Project) -> None:
    assert "fix (safe, repaired)" in project.run().stdout
    settings(project, 'extend-unsafe-fixes = ["MHA001"]')
    assert "fix (unsafe, repaired)" in project.run().stdout
    assert "1 more with --unsafe-fixes" in project.run().stdout
    settings(project, 'extend-unsafe-fixes = ["MHA001"]\nunsafe-fixes = true')
    assert "2 may be fixed with --fix" in project.run().stdout
    settings(project, 'extend-unsafe-fixes = ["MHA0"]\nextend-safe-fixes = ["MHA001"]')
    assert "fix (safe, repaired)" in project.run().stdout


# --- how fixes are written


@shows("view-fix", "qkv-split", "out-proj-init")
def test_fixes_are_written_as_chosen(project: Project) -> None:
    project.write("missing.py", (ROOT / "examples/missing_output_projection.py").read_text("utf-8"))
    settings(project, 'view-fix = "reshape"\nqkv-split = "index"')
    assert ".reshape(b, t, c)" in project.run("broken.py").stdout
    by_index = project.run("--select", "MHA002", "broken.py").stdout
    settings(project, "")
    assert by_index != project.run("--select", "MHA002", "broken.py").stdout
    with_identity = project.run("--select", "MHA003", "missing.py").stdout
    settings(project, 'out-proj-init = "default"')
    with_default = project.run("--select", "MHA003", "missing.py").stdout
    assert "eye_" in with_identity and "eye_" not in with_default and "out_proj" in with_default


@shows("target-torch")
def test_a_fix_that_needs_a_newer_torch_is_withheld_with_the_reason(project: Project) -> None:
    project.write("broken.py", GQA)
    assert "enable_gqa=True" in project.run().stdout
    settings(project, 'target-torch = "2.4"')
    printed = project.run().stdout
    assert "no fix: needs torch 2.5; target-torch is 2.4" in printed and "enable_gqa" not in printed
    assert "enable_gqa=True" in project.run("--target-torch", "2.5").stdout
    settings(project, 'target-torch = "two"')
    assert "target-torch: expected two numbers as \"2.1\", not 'two'" in project.refusal()


@pytest.mark.parametrize(
    ("dependencies", "target"),
    [
        ('dependencies = ["torchvision", "torch>=2.1,<3"]', "2.1"),
        ("dependencies = [\"torch~=2.3.1 ; python_version > '3'\"]", "2.3"),
        ('dependencies = ["torch"]\noptional-dependencies = { gpu = ["torch>=2.1"] }', None),
        ('optional-dependencies = { gpu = ["torch[x]>=2.4"], old = ["torch==2.2.*"] }', "2.2"),
        ('dependencies = ["torch<3"]', None),
        ('dependencies = ["torch @ https://example.org/torch.whl"]', None),
        ('dependencies = "torch>=2"', None),
    ],
)
def test_the_torch_that_a_project_depends_on_is_its_target(
    project: Project, dependencies: str, target: str | None
) -> None:
    project.write("pyproject.toml", f"[project]\n{dependencies}\n")
    shown = project.run("--show-settings", "broken.py").stdout
    (told,) = re.findall(r"^target-torch = (\S+)", shown, re.MULTILINE)
    assert told == (f'"{target}"' if target else "none")


@shows("target-version")
@pytest.mark.parametrize(
    ("requires", "target"), [(">=3.9", '"py39"'), ("==3.11.*", '"py311"'), ("<4", "none"), ("x", "none")]
)
def test_the_python_that_a_project_requires_is_its_target(project: Project, requires: str, target: str) -> None:
    project.write("pyproject.toml", f'[project]\nrequires-python = "{requires}"\n')
    settings(project, "", "sub/mha-lint.toml")
    project.write("sub/a.py", CLEAN)
    for file in ("broken.py", "sub/a.py"):
        assert f"\ntarget-version = {target}" in project.run("--show-settings", file).stdout
    assert '\ntarget-version = "py312"' in project.run("--show-settings", "--target-version", "py312").stdout
    assert "\ntarget-version = none" in project.run("--show-settings", "--isolated").stdout


def test_syntax_that_an_edit_writes_is_what_the_fix_needs() -> None:
    text = "def f(x):\n    y = x\n    return y\n"
    edit = Edit(Position(2, 5), Position(3, 13), "return (y := x)")
    fix = completed(Fix("safe", "equivalent", "", (edit,)), text, "a.py", "MHA999")
    assert isinstance(fix, Fix) and fix.needs_python == (3, 8)
    assert Settings(target_version="py37").lacks(fix.needs_torch, fix.needs_python) == (
        "needs Python 3.8; target-version is 3.7"
    )
    assert Settings(target_version="py38").lacks(fix.needs_torch, fix.needs_python) == ""
    needed_before = completed(Fix("safe", "equivalent", "", (edit,)), f"{text}z = (w := 1)\n", "a.py", "MHA999")
    assert isinstance(needed_before, Fix) and needed_before.needs_python == (0, 0)


@pytest.mark.parametrize(
    ("call", "needs"),
    [
        ("F.scaled_dot_product_attention(q, k, v)", (0, 0)),
        ("F.scaled_dot_product_attention(q, k, v, scale=1.0)", (2, 1)),
        ("F.scaled_dot_product_attention(q, k, v, enable_gqa=True)", (2, 5)),
        ("flex_attention(q, k, v)", (2, 5)),
        ("q.unflatten(1, (2, 3))", (1, 13)),
    ],
)
def test_what_a_fix_newly_calls_is_what_it_needs(call: str, needs: tuple[int, int]) -> None:
    text = "y = F.scaled_dot_product_attention(q, k, v)\n"
    edit = Edit(Position(1, 5), Position(1, len(text)), call)
    fix = completed(Fix("safe", "equivalent", "", (edit,)), text, "a.py", "MHA999")
    assert isinstance(fix, Fix) and fix.needs_torch == needs


# --- files


@shows("exclude", "extend-exclude", "force-exclude")
def test_files_are_excluded(project: Project) -> None:
    project.write("gen/a.py", TWO)
    project.write("dist/a.py", TWO)
    select = ("--select", "MHA001")
    assert len(project.codes(*select)) == 2
    settings(project, 'extend-exclude = ["gen"]')
    assert len(project.codes(*select)) == 1
    assert len(project.codes(*select, "gen/a.py")) == 1
    settings(project, 'exclude = ["gen"]')
    assert len(project.codes(*select)) == 2  # dist is excluded no more
    settings(project, 'exclude = ["gen"]\nforce-exclude = true')
    assert project.codes(*select, "gen/a.py") == []


@shows("respect-gitignore")
def test_what_git_ignores_is_passed_by_unless_it_is_not_asked(project: Project) -> None:
    subprocess.run(["git", "init", "-q", "."], cwd=project.folder, check=True)
    project.write(".gitignore", "broken.py\n")
    assert project.codes() == []
    settings(project, "respect-gitignore = false")
    assert "MHA001" in project.codes()


@shows("follow-imports")
def test_imports_are_followed_or_not(project: Project) -> None:
    project.write("heads.py", SPLIT)
    project.write("broken.py", USE)
    assert project.codes("broken.py") == ["MHA001"]
    settings(project, "follow-imports = false")
    assert project.codes("broken.py") == []


# --- runs


@shows("exit-severity", "output-format")
def test_the_status_and_the_report_are_chosen(project: Project) -> None:
    settings(project, 'select = ["MHA002"]\nexit-severity = "warning"\noutput-format = "json"')
    done = project.run()
    assert done.returncode == 0
    assert [finding["code"] for finding in json.loads(done.stdout)["findings"]] == ["MHA002"]


@shows("fix", "show-fixes", "harness", "also")
def test_a_run_fixes_where_the_settings_say_so(project: Project) -> None:
    pytest.importorskip("torch")
    settings(
        project,
        'select = ["MHA001"]\nfix = true\nshow-fixes = true\nalso = ["export"]\n'
        '[harness."broken:Attention"]\ninit = { dim = 8, heads = 2 }\ninputs = { x = ["b", 5, 8] }\n',
    )
    before = (project.folder / "broken.py").read_text()
    assert project.run("--no-fix").returncode == 1
    assert (project.folder / "broken.py").read_text() == before
    done = project.run("--device", "cpu", "--evidence", "evidence.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Fixed 1 finding:\n- broken.py:\n    1 × MHA001 (view-of-transposed)\n" in done.stdout
    assert (project.folder / "broken.py").read_text() != before
    evidence = (project.folder / "evidence.json").read_text()
    assert "export" in evidence and "5, 8)" in evidence


@shows("required-version")
def test_another_version_than_the_required_one_ends_with_2(project: Project) -> None:
    for text, refusal in (
        ('required-version = ">=99"', "'>=99' does not fit mha-lint"),
        ('required-version = "99.0"', "'99.0' does not fit mha-lint"),
        ('required-version = "new"', "'new' is no version specifier"),
        ("required-version = 1", "expected a string, not a number (1)"),
        ('required-version = ">=99"\nnew-key = 1', "'>=99' does not fit mha-lint"),
    ):
        settings(project, text)
        assert refusal in project.refusal(), text
    settings(project, 'required-version = ">=0.1"')
    assert "MHA001" in project.codes()


@shows("cache-dir")
def test_the_cache_lies_where_the_settings_say(project: Project) -> None:
    settings(project, 'cache-dir = "deep/kept"')
    project.codes()
    assert (project.folder / "deep/kept/.mha_lint_cache/CACHEDIR.TAG").exists()
    assert not (project.folder / ".mha_lint_cache").exists()
    assert re.search(r"^cache-dir = \".*/deep/kept\"", project.run("--show-settings").stdout, re.MULTILINE)


@shows("baseline")
def test_what_a_baseline_knows_is_not_reported(project: Project) -> None:
    assert "MHA001" in project.codes()
    assert project.run("--write-baseline", "known.json").returncode == 0
    settings(project, 'baseline = "known.json"')
    assert project.codes() == []


# --- extend


@shows("extend")
def test_an_extended_file_holds_where_the_extending_one_says_nothing(project: Project) -> None:
    project.write("base/base.toml", 'select = ["MHA001", "MHA004"]\nview-fix = "reshape"\nextend-exclude = ["gen/*"]\n')
    project.write("base/gen/a.py", TWO)
    project.write("gen/a.py", TWO)
    settings(project, 'extend = "base/base.toml"\nextend-select = ["MHA002"]\nextend-exclude = ["old"]\n')
    printed = project.run("broken.py").stdout
    assert ".reshape(b, t, c)" in printed and "MHA002" in printed
    listed = project.run("--show-files").stdout
    assert "base/gen/a.py" not in listed and "gen/a.py" in listed, "a glob is relative to the file that says it"
    settings(project, 'extend = "base/base.toml"\nselect = ["MHA002"]\nview-fix = "contiguous"')
    assert project.codes("broken.py") == ["MHA002"]


def test_extended_files_are_found_by_home_and_environment(project: Project) -> None:
    project.write("home/one.toml", 'extend = "$KEPT/two.toml"')
    project.write("kept/two.toml", 'ignore = ["MHA001"]')
    settings(project, 'extend = "~/one.toml"')
    here = project.folder
    assert project.codes("broken.py", HOME=str(here / "home"), KEPT=str(here / "kept")) == ["MHA002"]
    done = project.run("broken.py", HOME=str(here / "home"))
    assert (
        done.returncode == 2 and "one.toml: extend: '$KEPT/two.toml' names the environment variable KEPT" in done.stderr
    )


def test_files_that_extend_one_another_or_are_missing_are_a_clear_error(project: Project) -> None:
    settings(project, 'extend = "two.toml"')
    project.write("two.toml", 'extend = "mha-lint.toml"')
    assert re.search(
        r"in a circle: \S+mha-lint\.toml extends \S+two\.toml extends \S+mha-lint\.toml$", project.refusal()
    )
    project.write("two.toml", 'extend = "three.toml"')
    assert re.search(r"three\.toml: cannot be read: .*; it is what \S+two\.toml extends$", project.refusal())
    project.write("two.toml", 'selct = ["MHA001"]')
    assert "two.toml: unknown key 'selct'; did you mean 'select'?" in project.refusal()


# --- pages and schema


def test_the_page_and_the_schema_say_what_the_code_declares() -> None:
    import runpy

    stale = runpy.run_path(str(ROOT / "docs/write_settings.py"))["stale"]()
    assert not stale, f"run `make docs`: {', '.join(stale)}"


def test_the_schema_takes_the_settings_of_every_example_and_refuses_mistakes() -> None:
    import jsonschema

    schema = json.loads((ROOT / "docs/schema/settings.schema.json").read_text("utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)
    shown = 0
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for block in re.findall(r"```toml\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            table = tomllib.loads(block).get("tool", {}).get("mha-lint")
            if table is not None:
                validator.validate(table)
                shown += 1
    assert shown >= 2
    for wrong in (
        {"selct": []},
        {"select": "MHA001"},
        {"target-torch": "two"},
        {"view-fix": "clone"},
        {"also": ["onnx"]},
    ):
        assert not validator.is_valid(wrong), wrong
    assert validator.is_valid({"target-version": "py310", "per-file-ignores": {"a": ["MHA0"]}, "harness": {"a:B": {}}})
