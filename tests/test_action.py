"""The GitHub action: its file against the published schema, its scripts under bash as a runner runs them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import ROOT, commit_all, copy_to
from samples import BROKEN, CLEAN, FIXED

ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"]}
INSTALL, RUN, FAIL = "Install mha-lint", "Run mha-lint", "Fail as mha-lint did"
PLACEHOLDER = re.compile(r"\$\{\{ (?:(inputs)\.([\w-]+)|github\.action_path|steps\.lint\.outputs\.exit-code) \}\}")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "a project"
    folder.mkdir()
    (folder / "broken.py").write_text(BROKEN)
    return folder


def run(
    step: str, project: Path, inputs: dict[str, str] | None = None, *, action: str = "", code: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    """Run the script of a step as a runner does, with its environment filled in from the inputs."""
    given = {name: content["default"] for name, content in ACTION["inputs"].items()} | (inputs or {})
    assert given.keys() == ACTION["inputs"].keys()

    def filled(match: re.Match[str]) -> str:
        if match[1]:
            return given[match[2]]
        return action if "action_path" in match[0] else code

    bin_first = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": bin_first, "CUDA_VISIBLE_DEVICES": ""}
    environment |= {name: PLACEHOLDER.sub(filled, text) for name, text in STEPS[step].get("env", {}).items()}
    environment |= {"GITHUB_OUTPUT": str(project.parent / "output"), **more}
    environment["GITHUB_STEP_SUMMARY"] = str(project.parent / "summary")
    script = project.parent / "step.sh"
    script.write_text(STEPS[step]["run"])
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=600)


def exit_code(project: Path) -> str:
    found = re.fullmatch(r"exit-code=(\d+)\n", (project.parent / "output").read_text())
    assert found is not None
    return found[1]


def summary(project: Path) -> str:
    return (project.parent / "summary").read_text("utf-8")


def test_the_file_is_an_action_by_the_published_schema() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-actions", "action.yml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_inputs_are_data_and_never_part_of_a_script() -> None:
    scripts = [step["run"] for step in STEPS.values() if "run" in step]
    assert len(scripts) == 3
    for script in scripts:
        assert "${{" not in script
    for step in STEPS.values():
        for text in step.get("env", {}).values():
            assert PLACEHOLDER.fullmatch(text), text


def test_every_input_is_used_and_has_a_default_and_words() -> None:
    text = (ROOT / "action.yml").read_text("utf-8")
    for name, content in ACTION["inputs"].items():
        assert {"description", "default"} <= content.keys()
        assert f"${{{{ inputs.{name} }}}}" in text


def test_findings_are_annotations_and_fail_the_action(project: Path) -> None:
    done = run(RUN, project, {"sarif-file": "out.sarif"})
    assert done.returncode == 0, done.stderr
    assert "::error " in done.stdout
    (sarif,) = json.loads((project / "out.sarif").read_text())["runs"]
    assert [result["ruleId"] for result in sarif["results"]] == ["MHA001"]
    assert "file=broken.py" in done.stdout
    assert exit_code(project) == "1"
    assert summary(project).startswith("## mha-lint\n\n")
    assert summary(project).count("## mha-lint") == 1
    assert "MHA001" in summary(project)
    assert run(FAIL, project, code="1").returncode == 1


def test_without_findings_the_action_passes(project: Path) -> None:
    (project / "broken.py").write_text(CLEAN)
    done = run(RUN, project, {"paths": "broken.py"})
    assert (done.returncode, exit_code(project)) == (0, "0"), done.stderr
    assert run(FAIL, project, code="0").returncode == 0


def test_settings_of_the_checkout_do_not_make_the_action_fix(project: Path) -> None:
    (project / "mha-lint.toml").write_text("fix = true\n")
    (project / "broken.py").write_text(BROKEN)
    done = run(RUN, project, {"paths": "broken.py"})
    assert (done.returncode, exit_code(project)) == (0, "1"), done.stderr
    assert (project / "broken.py").read_text() == BROKEN


def test_a_run_that_fails_fails_the_action(project: Path) -> None:
    done = run(RUN, project, {"args": "--select NOPE"})
    assert done.returncode == 0, done.stderr
    assert "unknown rule code 'NOPE'" in done.stderr
    assert exit_code(project) == "2"
    assert summary(project) == "## mha-lint\n\nThe run failed; its log says why.\n"
    assert run(FAIL, project, code="2").returncode == 2


def test_arguments_and_paths_are_read_as_a_shell_reads_them(project: Path) -> None:
    for name in ("ein ä.py", "-dash.py", "left.py"):
        (project / name).write_text(BROKEN)
    inputs = {"paths": "'ein ä.py'\n-dash.py\n", "args": "--select 'MHA001, MHA002' -q", "output-format": "concise"}
    done = run(RUN, project, inputs)
    assert done.returncode == 0, done.stderr
    files = [line.partition(":")[0] for line in done.stdout.splitlines()]
    assert sorted(files) == ["-dash.py", "ein ä.py"]


@pytest.mark.parametrize("name", ["paths", "args", "output-format", "evidence-file", "sarif-file", "version"])
@pytest.mark.parametrize(
    "text", ["; touch pwned", "$(touch pwned)", "`touch pwned`", '"; touch pwned; "', "\ntouch pwned"]
)
def test_an_input_runs_nothing(project: Path, name: str, text: str) -> None:
    inputs = {name: text}
    tools = project.parent / "tools"
    tools.mkdir()
    (tools / "python").write_text(f'#!/bin/sh\n[ "$2" = pip ] || exec {sys.executable} "$@"\n')  # installs nothing
    (tools / "python").chmod(0o755)
    run(INSTALL, project, inputs, PATH=f"{tools}:{os.environ['PATH']}")
    if name != "version":
        run(RUN, project, inputs)
    assert not list(project.parent.rglob("pwned"))


@pytest.mark.slow
def test_validating_executes_and_changes_nothing(project: Path) -> None:
    pytest.importorskip("torch")
    inputs = {"validate": "true", "args": "--device cpu", "output-format": "json", "evidence-file": "evidence.json"}
    done = run(RUN, project, inputs)
    (finding,) = json.loads(done.stdout)["findings"]
    assert finding["validation"]["verdict"] == "validated"
    assert exit_code(project) == "1"
    assert len(json.loads((project / "evidence.json").read_text())["records"]) == 1
    assert (project / "broken.py").read_text() == BROKEN


@pytest.mark.slow
def test_fixing_writes_what_is_validated_and_passes(project: Path) -> None:
    pytest.importorskip("torch")
    inputs = {"fix": "true", "args": "--device cpu", "output-format": "full"}
    inputs |= {"evidence-file": "evidence.json", "sarif-file": "out.sarif"}
    done = run(RUN, project, inputs)
    assert "1 fixed (validated on cpu)" in done.stdout, done.stderr
    assert exit_code(project) == "0"
    assert "MHA001" not in summary(project)
    assert json.loads((project / "out.sarif").read_text())["runs"][0]["results"] == []
    assert (project / "broken.py").read_text() == FIXED
    assert len(json.loads((project / "evidence.json").read_text())["records"]) == 1


@pytest.mark.parametrize(
    ("inputs", "wanted"),
    [
        ({}, "{action}"),
        ({"fix": "true"}, "{action}[torch]"),
        ({"validate": "true", "version": "v1"}, "mha-lint[torch] @ git+https://github.com/mha-lint/mha-lint@v1"),
    ],
)
def test_torch_is_installed_only_where_something_is_executed(
    project: Path, inputs: dict[str, str], wanted: str
) -> None:
    tools = project.parent / "tools"
    tools.mkdir()
    (tools / "python").write_text('#!/bin/sh\nfor each; do echo "$each"; done\necho "index: $PIP_EXTRA_INDEX_URL"\n')
    (tools / "python").chmod(0o755)
    for name in ("bash", "cat"):
        (tools / name).symlink_to(shutil.which(name) or name)
    done = run(INSTALL, project, inputs, action="/an action", PATH=str(tools), PIP_EXTRA_INDEX_URL="")
    *command, index = done.stdout.splitlines()
    assert command == ["-m", "pip", "install", "--quiet", wanted.format(action="/an action")], done.stderr
    assert index.strip() == ("index: https://download.pytorch.org/whl/cpu" if "torch" in wanted else "index:")


@pytest.mark.slow
@pytest.mark.parametrize("version", ["", "main"])
def test_the_action_installs_itself_or_the_version_that_is_named(project: Path, version: str) -> None:
    copy = copy_to(project.parent / "the action")
    commit_all(copy)
    subprocess.run(["git", "branch", "-M", "main"], cwd=copy, check=True)
    config = project.parent / "gitconfig"  # GitHub is that copy
    config.write_text(f'[url "file://{copy}"]\n\tinsteadOf = https://github.com/mha-lint/mha-lint\n')
    subprocess.run([sys.executable, "-m", "venv", project.parent / "env"], check=True)
    fresh: dict[str, Any] = {
        "PATH": f"{project.parent}/env/bin{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": "",
        "GIT_CONFIG_GLOBAL": str(config),
    }
    done = run(INSTALL, project, {"version": version}, action=str(copy), **fresh)
    assert done.returncode == 0, done.stdout + done.stderr
    done = run(RUN, project, **fresh)
    assert exit_code(project) == "1", done.stderr
    listed = subprocess.run([project.parent / "env/bin/python", "-m", "pip", "freeze"], capture_output=True, text=True)
    assert "mha-lint @ " in listed.stdout
    assert "torch" not in listed.stdout
