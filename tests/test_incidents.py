"""Public reports of wrong attention code, rebuilt: the tool finds the mistake, and leaves the mended code alone.

``MISSED`` is the honest rest. A report leaves the table once it is found, and this test says so.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT
from incident_files import NOTEBOOKS, Incident, found, incidents, is_wrong, write

from mha_lint.cli import main

ALL = incidents()
FIELD_LOG = (ROOT / "docs/field-log.md").read_text("utf-8")

# What is not found, and why.
MISSED = {
    "facebookresearch-fairseq-2598": "on purpose: the path is for an accelerator alone, whose tensors have no strides",
}


def each() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("incident", ALL, ids=lambda incident: incident.reference)


def findings_of(code: Path, report: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Run the command once on a folder and return what its JSON report lists."""
    status = main(
        ["--isolated", "--no-cache", "-j", "1", "--output-format", "json", "--output-file", str(report), str(code)]
    )
    assert status in (0, 1), capsys.readouterr().err
    return json.loads(report.read_text("utf-8"))["findings"]


def errors(findings: list[dict[str, Any]]) -> set[tuple[str, str, int]]:
    """The findings that say that code is wrong: their file, code and row."""
    return {
        (finding["filename"], finding["code"], finding["location"]["row"])
        for finding in findings
        if finding["severity"] == "error"
    }


# --- what the folders hold


def test_the_incidents_are_many_and_of_many_forms() -> None:
    forms = [incident.form for incident in ALL]
    assert len(ALL) == 45, "a report that is missed stays in the count"
    assert forms.count("several files") * 2 >= len(ALL)
    assert forms.count("notebook") == len(list((ROOT / "tests/incidents" / NOTEBOOKS).iterdir()))


@each()
def test_an_incident_says_where_its_findings_must_be(incident: Incident) -> None:
    assert incident.marks
    mended = [path for path in (incident.folder / "good").rglob("*") if path.is_file()]
    assert mended
    for path in mended:
        assert path.relative_to(incident.folder / "good").as_posix() in incident.files
        assert not re.search("# (?:expect|or here):", path.read_text("utf-8")), path


def test_the_table_of_misses_names_incidents_alone() -> None:
    assert MISSED.keys() <= {incident.reference for incident in ALL}


# --- the tool


@each()
def test_the_mistake_is_found_or_is_in_the_table(
    incident: Incident, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = write(incident, tmp_path / "code", mended=False)
    findings = findings_of(code, tmp_path / "report.json", capsys)
    marked = {(str(code / mark.file), mark.code) for mark in (*incident.marks, *incident.alternatives)}
    assert {(file, rule) for file, rule, _ in errors(findings)} <= marked, "another error is told than the one there is"
    if incident.reference in MISSED:
        assert not found(incident, findings, code), f"found: take {incident.reference} out of MISSED and mend the log"
    else:
        assert found(incident, findings, code), incident.marks


@each()
def test_the_mended_code_has_neither_that_finding_nor_an_error(
    incident: Incident, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = write(incident, tmp_path / "code", mended=True)
    findings = findings_of(code, tmp_path / "report.json", capsys)
    assert not errors(findings)
    assert not {mark.code for mark in incident.marks} & {finding["code"] for finding in findings}


# --- the truth, by execution


@each()
def test_bad_is_wrong_and_good_is_right_in_torch(incident: Incident, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("einops")
    assert is_wrong(incident, write(incident, tmp_path / "bad", mended=False))
    assert not is_wrong(incident, write(incident, tmp_path / "good", mended=True))


# --- the log


def test_the_field_log_has_a_row_for_each_incident_and_says_what_the_tool_says() -> None:
    rows = dict(re.findall(r"^\| `([^`]+)` \|(.*)\|$", FIELD_LOG, re.MULTILINE))
    assert rows.keys() == {incident.reference for incident in ALL}
    for incident in ALL:
        reference, _, form, said, _ = (cell.strip() for cell in rows[incident.reference].split("|"))
        owner, number = incident.reference.split("-", 1)[0], incident.reference.rsplit("-", 1)[1]
        assert f"https://github.com/{owner}" in reference and number in reference, incident.reference
        assert form == incident.form
        expected = "nothing" if incident.reference in MISSED else sorted({mark.code for mark in incident.marks})
        assert said == (expected if isinstance(expected, str) else ", ".join(expected)), incident.reference
