"""The formats for other programs, against their schemas: real runs, and findings in which everything is hostile."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

import jsonschema
import pytest
import xmlschema
from checkout import ROOT
from msgspec.structs import replace
from notebooks import broken
from samples import BROKEN, FIXED, ROW, SYNTAX_ERROR
from test_reports import COMMANDS, FIX, OWNED, SOURCE, STUB, VALIDATED, finding

from mha_lint.bench.results import Bench, Left, Spread, Timed
from mha_lint.cli import main
from mha_lint.findings import Cells, Edit, Failure, Position
from mha_lint.report import Entry, Report, RulePage, github, gitlab, junit, markdown, rdjson, sarif, statistics
from mha_lint.report import json as json_report
from mha_lint.report.formats import FORMATS, STATISTICS

SCHEMAS = ROOT / "tests/schemas"
SARIF = jsonschema.Draft202012Validator(json.loads((SCHEMAS / "sarif-2.1.0.json").read_text("utf-8")))
JUNIT = xmlschema.XMLSchema(SCHEMAS / "junit-10.xsd")
PAGE = RulePage("MHA001", "view-of-transposed", "error", "a view", "It raises.", "# MHA001\n", "safe", "repaired")
FOR_MACHINES = {"sarif": sarif, "gitlab": gitlab, "junit": junit, "rdjson": rdjson, "json": json_report}
Run = Callable[..., tuple[int, str, str]]


def schema(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads((ROOT / f"docs/schema/{name}.schema.json").read_text("utf-8")))


def check(kind: str, text: str) -> None:
    """Hold a report against the schema of its format, as far as it has one."""
    if kind == "sarif":
        SARIF.validate(json.loads(text))
    elif kind == "json":
        schema("report").validate(json.loads(text))
    elif kind == "junit":
        JUNIT.validate(ElementTree.fromstring(text))
    else:
        json.loads(text)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in an empty folder: its status, its stdout and its stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CI_PROJECT_DIR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    def call(*arguments: str) -> tuple[int, str, str]:
        status = main(["--no-cache", *arguments])
        return status, *capsys.readouterr()

    return call


def report(*entries: Entry, failures: tuple[Failure, ...] = ()) -> Report:
    return Report(entries, failures, len(entries), [PAGE], "0.1.0")


# --- real runs


@pytest.mark.parametrize("kind", FOR_MACHINES)
def test_reports_of_examples_notebooks_and_unreadable_files_keep_to_their_schemas(run: Run, kind: str) -> None:
    Path("syntax.py").write_text(SYNTAX_ERROR)
    Path("latin.py").write_bytes(b"import torch\nx = '\xff'\n")
    for name in ("nine_ways_to_attend.ipynb", "tiny_gpt.py"):
        Path(name).write_bytes((ROOT / "examples" / name).read_bytes())
    status, out, _ = run("--output-format", kind)
    assert status == 2
    check(kind, out)
    for name in ("syntax.py", "latin.py", "nine_ways_to_attend.ipynb", "tiny_gpt.py"):
        assert name in out
    assert (status, out) == run("--output-format", kind)[:2], "it is deterministic"


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_cannot_be_read_is_told_in_each_format(run: Run, kind: str) -> None:
    Path("binary.py").write_bytes(b"import torch\n\0")
    status, out, err = run("-q", "--output-format", kind)
    assert status == 2
    assert "binary.py" in (err if kind in ("full", "concise") else out)
    assert "error: binary.py:2: is a binary file" in err


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind not in ("full", "concise")])
def test_a_run_that_cannot_begin_to_validate_is_no_clean_one(
    run: Run, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mha_lint import runner

    def fail(*_: object) -> None:
        raise runner.RunError("torch is missing")

    monkeypatch.setattr(runner, "_require", fail)
    Path("broken.py").write_text(BROKEN)
    status, out, _ = run("--fix", "--device", "cpu", "--output-format", kind)
    assert status == 2
    assert "torch is missing" in out
    if kind in FOR_MACHINES:
        check(kind, out)


@pytest.mark.parametrize(
    ("kind", "empty"),
    [
        ("gitlab", "[]\n"),
        ("github", ""),
        ("full", ""),
        ("concise", ""),
        ("markdown", "## mha-lint\n\nNo findings, 1 file looked at.\n"),
    ],
)
def test_nothing_found_is_a_whole_report_too(run: Run, kind: str, empty: str) -> None:
    Path("clean.py").write_text("x = 1\n")
    assert run("-q", "--output-format", kind)[:2] == (0, empty)


@pytest.mark.parametrize("kind", FOR_MACHINES)
def test_nothing_found_keeps_to_the_schema(run: Run, kind: str) -> None:
    status, out, _ = run("-q", "--output-format", kind)
    assert status == 0
    check(kind, out)


@pytest.mark.parametrize("kind", [*FOR_MACHINES, "markdown"])
def test_under_diff_the_report_still_lists_what_would_be_fixed(run: Run, kind: str) -> None:
    pytest.importorskip("torch")
    Path("broken.py").write_text(BROKEN)
    status, out, _ = run("--diff", "--device", "cpu", "--output-format", kind)
    assert status == 1
    assert "MHA001" in out
    assert Path("broken.py").read_text() == BROKEN
    if kind != "markdown":
        check(kind, out)
    if kind == "json":
        (found,) = json.loads(out)["findings"]
        assert (found["fixed"], found["validation"]["verdict"]) == (False, "validated")
    if kind == "sarif":
        (fix,) = json.loads(out)["runs"][0]["results"][0]["fixes"]
        assert "validated by execution" in fix["description"]["text"]


def test_what_was_fixed_is_no_result_any_more_but_json_lists_it(run: Run) -> None:
    pytest.importorskip("torch")
    for kind in [*FOR_MACHINES, "markdown"]:
        Path("broken.py").write_text(BROKEN)
        status, out, _ = run("--fix", "--device", "cpu", "--output-format", kind)
        assert status == 0
        assert ("MHA001" in out) == (kind == "json")
        if kind == "json":
            schema("report").validate(json.loads(out))
            assert [each["fixed"] for each in json.loads(out)["findings"]] == [True]


def test_names_with_any_character_lead_back_to_the_file(run: Run) -> None:
    names = ["a b#%.py", 'c:d|e*?<>".py', "back\\slash.py", "漢字.py", os.fsdecode(b"\xff\xfe.py"), "line\nbreak.py"]
    for name in names:
        Path(name).write_text(BROKEN)
    for kind in FOR_MACHINES:
        check(kind, run("--output-format", kind)[1])
    results = json.loads(run("--output-format", "sarif")[1])["runs"][0]["results"]
    uris = [result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in results]
    assert sorted(os.fsdecode(unquote_to_bytes(uri)) for uri in uris) == sorted(names)
    assert all(re.fullmatch(r"[\w.~%/-]+", uri, re.ASCII) for uri in uris)
    for record in json.loads(run("--output-format", "gitlab")[1]):
        record["location"]["path"].encode("utf-8")


def test_stdin_is_a_dash(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    for kind in FOR_MACHINES:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(BROKEN.encode())))
        status, out, _ = run("-", "--output-format", kind)
        assert status == 1
        check(kind, out)
        assert '"-"' in out


# --- positions and fixes


def test_sarif_fixes_and_reviewdog_suggestions_make_the_fixed_file(run: Run) -> None:
    Path("broken.py").write_text(BROKEN)
    (result,) = json.loads(run("--output-format", "sarif")[1])["runs"][0]["results"]
    assert result["locations"][0]["logicalLocations"] == [{"fullyQualifiedName": "Attention.forward"}]
    assert result["ruleIndex"] == 0
    (change,) = result["fixes"][0]["artifactChanges"]
    (replacement,) = change["replacements"]
    rows = BROKEN.splitlines(keepends=True)
    region = replacement["deletedRegion"]
    row = rows[region["startLine"] - 1]
    added = replacement["insertedContent"]["text"]
    rows[region["startLine"] - 1] = row[: region["startColumn"] - 1] + added + row[region["endColumn"] - 1 :]
    assert "".join(rows) == FIXED
    (diagnostic,) = json.loads(run("--output-format", "rdjson")[1])["diagnostics"]
    assert suggested(BROKEN, diagnostic) == FIXED


def suggested(text: str, diagnostic: dict[str, Any]) -> str:
    """The text with a suggestion of reviewdog's format in it, whose columns count bytes."""
    (suggestion,) = diagnostic["suggestions"]
    rows = text.encode().split(b"\n")
    starts = [sum(len(row) + 1 for row in rows[:number]) for number in range(len(rows))]
    first, last = (
        starts[suggestion["range"][end]["line"] - 1] + suggestion["range"][end]["column"] - 1
        for end in ("start", "end")
    )
    data = text.encode()
    return (data[:first] + suggestion["text"].encode() + data[last:]).decode()


def test_columns_are_characters_in_sarif_and_bytes_for_reviewdog() -> None:
    found = finding()
    made = json.loads(sarif.render(report(Entry(found, SOURCE))))["runs"][0]
    assert made["columnKind"] == "unicodeCodePoints"
    region = made["results"][0]["locations"][0]["physicalLocation"]["region"]
    row = SOURCE.split("\n")[1]
    assert row[region["startColumn"] - 1 : region["endColumn"] - 1] == "x.transpose(1, 2).view(b, t, c)"
    (diagnostic,) = json.loads(rdjson.render(report(Entry(found, SOURCE))))["diagnostics"]
    place = diagnostic["location"]["range"]
    told = row.encode()[place["start"]["column"] - 1 : place["end"]["column"] - 1]
    assert told == b"x.transpose(1, 2).view(b, t, c)"


def test_edits_at_several_places_are_one_suggestion() -> None:
    edits = (Edit(Position(3, 2), Position(3, 8), "yield"), Edit(Position(1, 1), Position(1, 1), "import é\n"))
    entry = Entry(finding(fix=replace(FIX, edits=edits)), SOURCE, offered=True)
    (diagnostic,) = json.loads(rdjson.render(report(entry)))["diagnostics"]
    assert suggested(SOURCE, diagnostic) == "import é\n" + SOURCE.replace("return", "yield")


@pytest.mark.parametrize(
    ("changes", "offered", "proposed"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"verdict": VALIDATED}, False, True),
        ({"verdict": replace(VALIDATED, verdict="refuted")}, True, False),
    ],
)
def test_only_fixes_that_are_validated_or_would_be_tried_are_proposed(
    changes: dict[str, Any], offered: bool, proposed: bool
) -> None:
    entry = Entry(finding(**changes), SOURCE, offered=offered)
    assert ("suggestions" in json.loads(rdjson.render(report(entry)))["diagnostics"][0]) == proposed
    assert ("fixes" in json.loads(sarif.render(report(entry)))["runs"][0]["results"][0]) == proposed


def test_a_finding_in_a_cell_names_the_cell_and_no_row_of_the_file(run: Run) -> None:
    Path("a.ipynb").write_text(broken())
    place = r"cell 3:\d+:\d+: "
    sarif_run = json.loads(run("--output-format", "sarif")[1])["runs"][0]
    (result,) = sarif_run["results"]
    assert re.match(place, result["message"]["text"])
    (location,) = result["locations"]
    assert location["physicalLocation"]["region"] == {"startLine": 1}
    assert location["properties"]["cell"] == 3
    assert location["logicalLocations"][0] == {"name": "cell 3", "kind": "cell"}
    assert sarif_run["artifacts"][0]["location"]["uri"] == "a.ipynb"
    assert "fixes" not in result
    (issue,) = json.loads(run("--output-format", "gitlab")[1])
    assert re.match(place, issue["description"])
    assert issue["location"]["positions"]["begin"] == {"line": 1, "column": 1}
    (diagnostic,) = json.loads(run("--output-format", "rdjson")[1])["diagnostics"]
    assert re.match(place, diagnostic["message"])
    assert diagnostic["location"] == {"path": "a.ipynb"}
    for kind in ("junit", "markdown"):
        assert re.search(r"cell 3:\d+:\d+", run("--output-format", kind)[1])


# --- fingerprints


def test_fingerprints_are_unique_and_survive_edits_elsewhere(run: Run) -> None:
    def prints(text: str) -> list[str]:
        Path("a.py").write_text(text)
        in_gitlab = [each["fingerprint"] for each in json.loads(run("--output-format", "gitlab")[1])]
        results = json.loads(run("--output-format", "sarif")[1])["runs"][0]["results"]
        assert in_gitlab == [each["partialFingerprints"]["mhaLint/v1"] for each in results]
        return in_gitlab

    twice = BROKEN + "\n\n" + BROKEN.split("\n\n\n", 1)[1]
    before = prints(twice)
    assert len(set(before)) == len(before) == 2
    assert prints(f"# a comment\n\n{twice}\n# another\n") == before
    assert set(prints(BROKEN)) < set(before)
    assert not set(prints(BROKEN.replace("(b, t, c)", "(b, t, -1)"))) & set(before)


def test_junit_tests_are_unique_and_hold_no_row(run: Run) -> None:
    Path("a.py").write_text(BROKEN + "\n\n" + BROKEN.split("\n\n\n", 1)[1])
    cases = list(ElementTree.fromstring(run("--output-format", "junit")[1]).iter("testcase"))
    names = [case.get("name") for case in cases]
    assert names == ["MHA001 view-of-transposed Attention.forward", "MHA001 view-of-transposed Attention.forward (2)"]


# --- whatever a finding holds

HOSTILE = f"{COMMANDS}|`|\ud800\uffff\ufffe]]> & <script>`x` [0](1) {{0}} $x$ \r\n\0 {'x' * 100_000}"


def hostile() -> Report:
    found = finding(
        filename=f"{COMMANDS}|`\udcff<&>.py",
        message=HOSTILE,
        why=HOSTILE,
        symbol=HOSTILE,
        no_fix_reason=HOSTILE,
        location=Position(1, 1),
        end_location=Position(1, 6),
        fix=replace(FIX, message=HOSTILE, edits=(Edit(Position(1, 1), Position(1, 2), HOSTILE),)),
        verdict=replace(OWNED, reason=HOSTILE, caveat=HOSTILE),
    )
    timed = Timed("cpu", "float32", "x", ("x: (1,)",), "forward", False, Spread(1.0, 1, 1, 3), Spread(2.0, 2, 2, 3))
    bench = Bench((timed,), (Left(COMMANDS),), COMMANDS, ((COMMANDS, COMMANDS),), COMMANDS)
    entries = [
        Entry(found, f"x = '{COMMANDS}'\n"),
        Entry(found, "", offered=True, bench=bench),
        Entry(replace(found, filename="a.ipynb"), "x = 1\n", cells=Cells((0,), (1,)), offered=True),
        Entry(replace(found, filename="b.py"), "", suppressed="baseline"),
        Entry(replace(found, filename="c.py", verdict=replace(OWNED, stub=STUB)), "", fixed=True),
    ]
    failures = (Failure(HOSTILE), Failure(HOSTILE, f"{COMMANDS}\udcff", 3))
    return Report(entries, failures, 2, [replace(PAGE, page=HOSTILE)], "0.1.0")


@pytest.mark.parametrize("kind", [*FOR_MACHINES, "markdown", "github"])
def test_no_text_breaks_a_report_or_commands_a_terminal(kind: str) -> None:
    module = {**FOR_MACHINES, "markdown": markdown, "github": github}[kind]
    text = module.render(hostile())
    assert "owned" in text
    assert not set(text) & {"\x1b", "\x07", "\x9b", "\u202e", "\0"}
    text.encode("utf-8", "backslashreplace")
    if kind in FOR_MACHINES:
        text.encode("ascii")
        assert kind == "json" or not re.search(r"\\ud[89a-f]", text), "strict readers refuse lone surrogates"
        check(kind, text)
    if kind == "junit":
        suites = ElementTree.fromstring(text)
        assert (suites.get("tests"), suites.get("failures"), suites.get("errors")) == ("5", "3", "2")
    if kind == "gitlab":
        assert len(json.loads(text)) == 5


def test_what_is_suppressed_is_so_in_sarif_and_json_and_not_there_elsewhere() -> None:
    suppressed = report(Entry(finding(), SOURCE, suppressed="baseline"))
    (result,) = json.loads(sarif.render(suppressed))["runs"][0]["results"]
    assert result["suppressions"] == [{"kind": "external", "justification": "baseline"}]
    (found,) = json.loads(json_report.render(suppressed))["findings"]
    assert found["suppressed"] == "baseline"
    for other in (gitlab, rdjson, junit, markdown, github):
        assert "MHA001" not in other.render(suppressed)


def test_sarif_says_which_rules_there_are_and_that_something_failed() -> None:
    failures = (Failure("cannot be read", "a.py", 3), Failure("torch is missing"))
    made = json.loads(sarif.render(report(Entry(finding(), SOURCE), failures=failures)))["runs"][0]
    (rule,) = made["tool"]["driver"]["rules"]
    assert (rule["id"], rule["name"], rule["defaultConfiguration"]) == ("MHA001", PAGE.name, {"level": "error"})
    assert rule["help"] == {"text": PAGE.page, "markdown": PAGE.page}
    (invocation,) = made["invocations"]
    assert invocation["executionSuccessful"] is False
    first, second = invocation["toolExecutionNotifications"]
    physical = first["locations"][0]["physicalLocation"]
    assert (physical["artifactLocation"]["uri"], physical["region"]["startLine"]) == ("a.py", 3)
    assert second == {"level": "error", "message": {"text": "torch is missing"}}


# --- Markdown


def cells(row: str) -> list[str]:
    """The cells of a row of a table, as GitHub parts them."""
    return re.split(r"(?<!\\)\|", row)[1:-1]


def test_each_row_of_a_markdown_table_has_as_many_cells_as_its_head() -> None:
    tables = [line for line in markdown.render(hostile()).splitlines() if line.startswith("|")]
    assert len(tables) == 2 * 2 + 3
    assert {len(cells(row)) for row in tables} == {5}


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("`a|b` or <b>", r"`a\|b` or \<b\>"),
        ("a `b", r"a \`b"),
        ("2*3 and _x_", r"2\*3 and \_x\_"),
        ("x[0](1)", r"x\[0\](1)"),
        ("one\ntwo", "one two"),
    ],
)
def test_markdown_shows_words_as_they_stand(words: str, shown: str) -> None:
    assert markdown.escaped(words) == shown


def test_code_with_backticks_is_put_between_more_of_them() -> None:
    assert markdown.code("a`b") == "``a`b``"
    assert markdown.code("`b") == "`` `b ``"


def test_a_markdown_report_fits_into_the_summary_of_a_step() -> None:
    many = [Entry(finding(filename=f"{number}.py", message="x" * 10_000), SOURCE) for number in range(200)]
    text = markdown.render(report(*many))
    assert len(text.encode()) < 1 << 20
    shown = text.count("\n| ") - text.count("\n| place")
    assert f"{200 - shown} more findings are left out here" in text
    assert "200 findings (200 errors)" in text


# --- statistics


@pytest.mark.parametrize("kind", FORMATS)
def test_statistics_are_text_json_or_a_table_and_refused_elsewhere(run: Run, kind: str) -> None:
    Path("a.py").write_text(BROKEN)
    Path("b.py").write_text(BROKEN)
    status, out, err = run("-q", "--statistics", "--output-format", kind)
    if kind not in STATISTICS:
        assert (status, out) == (2, "")
        assert f"--statistics has no form as {kind} (choose from full, concise, json, markdown)" in err
        return
    assert status == 1
    if kind == "json":
        schema("statistics").validate(json.loads(out))
        (rule,) = json.loads(out)["rules"]
        assert rule == {"code": "MHA001", "name": PAGE.name, "count": 2, "fixable": True, "fixable_count": 2}
    elif kind == "markdown":
        assert re.search(r"^\| 2 \| \[MHA001\]\(\S+\) \| 2 with `--fix` \| view-of-transposed \|$", out, re.MULTILINE)
    else:
        assert out == "2  MHA001  [*] view-of-transposed\n"


def test_the_mark_of_a_rule_says_whether_all_some_or_none_of_its_fixes_are_tried() -> None:
    def mark(*offered: bool) -> str:
        return statistics.as_text(report(*(Entry(finding(), SOURCE, offered=each) for each in offered)))[11:14]

    assert [mark(True, True), mark(True, False), mark(False, False)] == ["[*]", "[-]", "[ ]"]


def test_statistics_name_what_could_not_be_read(run: Run) -> None:
    Path("binary.py").write_bytes(b"import torch\n\0")
    for kind in ("json", "markdown"):
        status, out, _ = run("--statistics", "--output-format", kind)
        assert status == 2
        assert "binary.py" in out


# --- the schemas of our own


def test_the_schemas_are_those_of_the_records() -> None:
    spec = importlib.util.spec_from_file_location("write_schemas", ROOT / "docs/write_schemas.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.schemas()
    assert {name: (ROOT / "docs/schema" / name).read_text("utf-8") for name in made} == made, "run `make docs`"
    for text in made.values():
        jsonschema.Draft202012Validator.check_schema(json.loads(text))


def test_the_schema_refuses_what_is_no_report() -> None:
    good = json.loads(json_report.render(report(Entry(finding(verdict=VALIDATED), SOURCE, offered=True))))
    schema("report").validate(good)
    for bad in ([], {**good, "version": 2}, {**good, "findings": [{}]}, {**good, "errors": ["x"]}):
        assert not schema("report").is_valid(bad)


def test_a_probe_keeps_to_its_schema(run: Run) -> None:
    pytest.importorskip("torch")
    Path("fixed.py").write_text(FIXED)
    status, out, _ = run("--probe", "fixed.py:Attention", "--device", "cpu", "--output-format", "json")
    assert status in (0, 1)
    schema("probe").validate(json.loads(out))
    assert json.loads(out)["version"] == 1


@pytest.mark.parametrize("cached", [False, True])
def test_pages_of_rules_are_the_same_out_of_the_cache(run: Run, cached: bool) -> None:
    Path("a.py").write_text(BROKEN)
    fresh = run("--output-format", "sarif")[1]
    assert main(["--output-format", "sarif", "--output-file", "r.sarif"]) == 1
    if cached:
        assert list(Path(".mha_lint_cache/pages").glob("*.json"))
        assert main(["--output-format", "sarif", "--output-file", "r.sarif"]) == 1
    assert Path("r.sarif").read_text() == fresh
    assert ROW in [
        each["locations"][0]["physicalLocation"]["region"]["startLine"]
        for each in json.loads(fresh)["runs"][0]["results"]
    ]
