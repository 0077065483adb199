"""The examples of docs/continuous-integration.md are what GitHub, GitLab and pre-commit read."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from checkout import ROOT
from installed_command import Project
from samples import BROKEN

from mha_lint.options import FORMATS

PAGE = (ROOT / "docs/continuous-integration.md").read_text("utf-8")
CLUSTER = (ROOT / "docs/cluster.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))


def examples(section: str) -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```", SECTIONS[section], re.MULTILINE | re.DOTALL)


def checked(command: list[str], text: str, file: Path) -> None:
    file.write_text(text)
    done = subprocess.run([sys.executable, "-m", *command, str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


WORKFLOWS = [examples("GitHub")[0], *examples("Fixes from a laptop, validated on a GPU")]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=["lint", "replay"])
def test_the_workflows_are_workflows_by_the_published_schema(workflow: str, tmp_path: Path) -> None:
    checked(["check_jsonschema", "--builtin-schema", "vendor.github-workflows"], workflow, tmp_path / "workflow.yml")
    for job in yaml.safe_load(workflow)["jobs"].values():
        for step in job["steps"]:
            if step.get("uses", "").startswith("mha-lint/"):
                assert step["with"].keys() <= ACTION["inputs"].keys()


def test_the_gitlab_job_is_one_by_the_published_schema(tmp_path: Path) -> None:
    (job,) = examples("GitLab")
    checked(["check_jsonschema", "--builtin-schema", "vendor.gitlab-ci"], job, tmp_path / ".gitlab-ci.yml")
    content = yaml.safe_load(job)["attention"]
    (command,) = (line for line in content["script"] if line.startswith("mha-lint "))
    assert f"--output-file {content['artifacts']['reports']['codequality']} " in command


def test_the_pre_commit_configuration_is_one_and_names_our_hooks(tmp_path: Path) -> None:
    (text,) = examples("pre-commit")
    checked(["pre_commit", "validate-config"], text, tmp_path / ".pre-commit-config.yaml")
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
    (repo,) = yaml.safe_load(text)["repos"]
    assert [hook["id"] for hook in repo["hooks"]] == [hook["id"] for hook in hooks]


def test_every_format_that_is_asked_for_exists() -> None:
    named = set(re.findall(r"--output-format (\w+)", PAGE))
    assert named <= set(FORMATS)


def test_the_page_has_a_row_for_each_input_of_the_action_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (?:`([^`]*)`)? ?\|", SECTIONS["GitHub"], re.MULTILINE))
    assert rows == {name: content["default"] for name, content in ACTION["inputs"].items()}


def test_the_page_of_clusters_has_a_row_for_each_option_that_is_ours() -> None:
    rows = re.findall(r"^\| (`.*?) \|", CLUSTER, re.MULTILINE)
    keys = {key for row in rows for key in re.findall(r"`(\w+)`", row)}
    assert {"cluster", "folder", "python", "gpus_per_node", "timeout_min"} <= keys


def test_the_check_hook_fixes_nothing_whatever_the_settings_say(tmp_path: Path) -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
    (entry,) = (hook["entry"] for hook in hooks if hook["id"] == "mha-lint")
    project = Project(tmp_path)
    project.write("mha-lint.toml", "fix = true\n")
    broken = project.write("broken.py", BROKEN)
    _, *arguments = entry.split()
    assert project.run(*arguments, "broken.py").returncode == 1
    assert broken.read_text("utf-8") == BROKEN
