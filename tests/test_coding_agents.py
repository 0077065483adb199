"""What docs/coding-agents.md says is what the command does: its loop, its exit statuses, and its JSON."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from checkout import ROOT

from mha_lint.findings import VerdictName

PAGE = (ROOT / "docs/coding-agents.md").read_text("utf-8")
STEPS = re.findall(r"^\| ([a-z ]+) \| `mha-lint (.*?)` \| (\d) \|", PAGE, re.MULTILINE)


def block(language: str) -> str:
    (text,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return text


def numbers_apart(text: str) -> tuple[str, list[float]]:
    """A text without the numbers in it that are measured, and these numbers."""
    return re.sub(r"\d+\.\d+", "?", text), [float(number) for number in re.findall(r"\d+\.\d+", text)]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, str]]:
    """Exit status, stdout and stderr of each step of the loop, in an empty folder."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("loop")
    (folder / "attention.py").write_text(block("python"))
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    found = {}
    for step, options, _ in STEPS:
        command = [sys.executable, "-m", "mha_lint", *options.split()]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        found[step] = (done.returncode, done.stdout, done.stderr)
    return found


@pytest.mark.parametrize(("step", "status"), [(step, int(status)) for step, _, status in STEPS])
def test_each_step_of_the_loop_ends_with_the_status_that_the_page_says(
    step: str, status: int, answers: dict[str, tuple[int, str, str]]
) -> None:
    assert answers[step][0] == status, answers[step]
    json.loads(answers[step][1])


def test_the_loop_ends_with_no_finding_and_each_counterexample_was_seen_on_the_way(
    answers: dict[str, tuple[int, str, str]],
) -> None:
    codes = {step: [each["code"] for each in json.loads(out)["findings"]] for step, (_, out, _) in answers.items()}
    assert codes["lint again"] == []
    assert sorted(codes["lint"]) == ["MHA001", "MHA106"]
    assert codes["verify"] == codes["decide"] == ["MHA106"]


def test_the_json_of_the_page_is_what_the_command_prints(
    answers: dict[str, tuple[int, str, str]],
) -> None:
    shown, real = json.loads(block("json")), json.loads(answers["verify"][1])
    for each in (*shown["findings"], *real["findings"]):
        each["filename"] = Path(each["filename"]).name
        each["validation"]["trials"] = each["validation"]["trials"][:1]
    (words, numbers), (said, measured) = (numbers_apart(_taken(each, "counterexample")) for each in (real, shown))
    assert words == said
    assert numbers == pytest.approx(measured, rel=0.1), "another torch rounds otherwise"
    assert real == shown
    assert list(real["findings"][0]) == list(shown["findings"][0])


def _taken(report: dict[str, Any], field: str) -> str:
    """A field of the validation of the one finding, which is no longer there then."""
    (finding,) = report["findings"]
    return str(finding["validation"].pop(field))


def test_the_page_tells_of_every_verdict() -> None:
    told = re.findall(r"^\| `([a-z ]+)` \|", PAGE.partition("| `validation.verdict` |")[2], re.MULTILINE)
    assert sorted(told) == sorted(get_args(VerdictName))
