"""The output formats, from findings built by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from mha_lint.findings import Edit, Finding, Fix, Position, Trial, Verdict, VerdictName
from mha_lint.report import Entry, Report, github, shown_path, statistics, text, tried
from mha_lint.report import json as json_report
from mha_lint.report.excerpt import small_diff, underline
from mha_lint.report.summary import summary

SOURCE = "def f(x, b, t, c):\n\tname, y = '漢字', x.transpose(1, 2).view(b, t, c)\n\treturn y\n"
START = SOURCE.split("\n")[1].index("x.tr") + 1
INSERT = START + len("x.transpose(1, 2)")


FIX = Fix(
    applicability="safe",
    relation="repaired",
    message="make it contiguous first",
    edits=(Edit(Position(2, INSERT), Position(2, INSERT), ".contiguous()"),),
)


def finding(**changes: Any) -> Finding:
    made = Finding(
        code="MHA001",
        name="view-of-transposed",
        severity="error",
        message="`.view` cannot express this layout",
        why="It raises at run time.",
        filename="a.py",
        location=Position(2, START),
        end_location=Position(2, len(SOURCE.split("\n")[1]) + 1),
        symbol="f",
        noqa_row=2,
        fix=FIX,
    )
    return replace(made, **changes)


def trial(device: str = "cpu", outcome: str = "agree", difference: float | None = 0.0) -> Trial:
    return Trial(device, "float32", "eval", ("x: (3, 5, 24)",), difference, outcome)


VALIDATED = Verdict(
    "validated",
    "module",
    bitwise=True,
    trials=(*[trial()] * 3, *[trial("cuda")] * 2, trial("cuda", "skipped")),
    device_names=(("cpu", "x86_64"), ("cuda", "NVIDIA H100")),
)
REFUTED = Verdict(
    "refuted", "module", reason="outputs differ by 0.5\non x: (3, 5, 24)", trials=(trial(outcome="differ"),)
)
NOT_EXERCISED = Verdict("not exercised", "module", reason="the changed lines never ran")
STUB = '[tool.mha-lint.harness."attention:Attention"]\ninit = "dim=32"\ninputs = { x = ["b", "t", 32] }\n'
NO_HARNESS = Verdict("not exercised", reason="no way was found to run the changed lines: TypeError", stub=STUB)


def test_full_shows_the_span_the_reason_the_fix_and_the_evidence() -> None:
    report = text.full([Entry(finding(verdict=VALIDATED), SOURCE, fixed=True)])
    before = "    name, y = '漢字', x.transpose(1, 2).view(b, t, c)"
    assert report.splitlines() == [
        f"a.py:2:{START}: MHA001 error: [fixed] `.view` cannot express this layout",
        "  |",
        f"2 | {before}",
        "  |                       " + "^" * len("x.transpose(1, 2).view(b, t, c)"),
        "  = why: It raises at run time.",
        "  = fix (safe, repaired): make it contiguous first",
        f"2 | - {before}",
        f"2 | + {before.replace('.view', '.contiguous().view')}",
        "  = validated: module · cpu 3/3 · cuda 2/2 · bitwise",
        "  = tried: x (3, 5, 24); eval; float32 on cpu; float32 on cuda. No more is proved.",
    ]


@pytest.mark.parametrize(
    ("verdict", "line"),
    [
        (REFUTED, "  = refuted: outputs differ by 0.5 on x: (3, 5, 24)"),
        (NOT_EXERCISED, "  = not exercised: the changed lines never ran"),
        (replace(VALIDATED, bitwise=False, cached=True), "  = validated: module · cpu 3/3 · cuda 2/2 · from cache"),
    ],
)
def test_full_says_why_a_fix_was_not_applied(verdict: Verdict, line: str) -> None:
    report = text.full([Entry(finding(verdict=verdict), SOURCE)]).splitlines()
    assert [row for row in report if "tried:" not in row][-1] == line


def test_full_says_why_there_is_no_fix() -> None:
    report = text.full([Entry(finding(fix=None, no_fix_reason="the permuted tensor is used elsewhere"), SOURCE)])
    assert report.splitlines()[-1] == "  = no fix: the permuted tensor is used elsewhere"


@pytest.mark.parametrize(
    ("end", "carets"),
    [
        (Position(2, 8), "    ^^^"),
        (Position(2, 5), "    ^"),
        (Position(3, 1), "    ^^^^^…"),
        (Position(29, 3), "    ^^^^^…"),
    ],
)
def test_of_a_span_the_first_row_is_underlined_and_dots_say_that_it_goes_on(end: Position, carets: str) -> None:
    rows = [f"    line{number}  " for number in range(1, 31)]
    assert underline("\n".join(rows), Position(2, 5), end).carets == carets
    report = text.full([Entry(finding(location=Position(2, 5), end_location=end, fix=None), "\n".join(rows))])
    assert [line for line in report.splitlines() if "| " in line] == ["2 |     line2  ", f"  | {carets}"]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_rows_are_counted_as_python_counts_them(newline: str) -> None:
    source = newline.join(["a\x0cb", "c\u2028d", "x.view(1)", ""])
    shown = underline(source, Position(3, 1), Position(3, 10))
    assert (shown.source, shown.carets) == ("x.view(1)", "^" * 9)


def tried_with(*trials: Trial, verdict: VerdictName = "validated") -> Verdict:
    return Verdict(verdict, "module", trials=trials)


def test_a_validated_fix_says_with_which_sizes_modes_and_dtypes_it_was_tried() -> None:
    verdict = tried_with(
        Trial("cpu", "float32", "train", ("x: (1, 7, 32)", "m: (7,)"), 0.0, "agree"),
        Trial("cpu", "float64", "eval", ("x: (5, 1, 32) transposed storage", "m: (1,)"), 0.0, "agree"),
        Trial("cpu", "bfloat16", "eval", ("x: (99, 99, 99)",), None, "raised"),
    )
    words = "x (1-5, 1-7, 32), m (1-7); train, eval; float32, float64 on cpu. No more is proved."
    assert tried.in_words(verdict) == words
    assert (
        json.loads(json_report.render(Report([Entry(finding(verdict=verdict), SOURCE)])))["findings"][0]["validation"][
            "tried"
        ]
        == words
    )


def test_what_was_tried_fits_into_a_terminal() -> None:
    shapes = tuple(f"x{number}: (3, 12, 64)" for number in range(9))
    other = tuple(f"x{number}: (5, 1, 64)" for number in range(9))
    verdict = tried_with(
        Trial("cpu", "float32", "train", shapes, 0.0, "agree"), Trial("cpu", "float64", "eval", other, 0.0, "agree")
    )
    *_, line = text.full([Entry(finding(verdict=verdict), SOURCE)]).splitlines()
    assert "x0 (3-5, 1-12, 64) and 8 more; train, eval;" in line
    assert len(line) <= 100


def test_inputs_of_several_ranks_are_told_apart() -> None:
    shapes = ("x: (2, 3)", "x: (2, 3, 4)", "n: ()")
    trials = [Trial("cpu", "float32", "eval", (shape,), 0.0, "agree") for shape in shapes]
    assert tried.in_words(tried_with(*trials)).startswith("x (2, 3), x (2, 3, 4), n (); eval;")


@pytest.mark.parametrize(
    "verdict",
    [
        tried_with(),
        tried_with(trial(), verdict="refuted"),
        tried_with(trial(), verdict="not exercised"),
        tried_with(trial(outcome="skipped")),
    ],
)
def test_nothing_is_said_to_be_tried_where_nothing_was_validated(verdict: Verdict) -> None:
    assert tried.in_words(verdict) == ""
    assert "tried:" not in text.full([Entry(finding(verdict=verdict), SOURCE)])


def test_damaged_shapes_do_not_stop_a_report() -> None:
    damaged = Trial("cpu", "float32", "eval", ("x", "", "y: (a, 2", "z: (²)"), 0.0, "agree")
    assert tried.in_words(tried_with(damaged)).endswith("float32 on cpu. No more is proved.")


COMMANDS = "\x1b]0;owned\x07\x9b2J\u202e"
OWNED = Verdict(
    "validated",
    COMMANDS,
    bitwise=True,
    trials=(Trial(COMMANDS, COMMANDS, COMMANDS, (f"{COMMANDS}: (2, 3)",), 0.0, "agree", 0, COMMANDS),),
    device_names=((COMMANDS, COMMANDS),),
    stub=COMMANDS,
    counterexample=COMMANDS,
    caveat=COMMANDS,
)


@pytest.mark.parametrize(
    "verdict",
    [
        OWNED,
        replace(OWNED, verdict="refuted", reason=COMMANDS),
        replace(OWNED, verdict="not exercised", unshown=True, reason=COMMANDS),
    ],
    ids=lambda verdict: verdict.verdict,
)
def test_whatever_user_code_is_called_and_says_no_report_holds_what_a_terminal_obeys(verdict: Verdict) -> None:
    found = finding(
        filename=f"{COMMANDS}.py",
        message=COMMANDS,
        why=COMMANDS,
        symbol=COMMANDS,
        no_fix_reason=COMMANDS,
        location=Position(1, 1),
        end_location=Position(1, 6),
        fix=replace(FIX, message=COMMANDS, edits=(Edit(Position(1, 1), Position(1, 2), COMMANDS),)),
        verdict=verdict,
    )
    source = f"x = '{COMMANDS}'\n"
    entries = [Entry(found, source), Entry(replace(found, fix=None), source)]
    reports = {
        "full": text.full(entries),
        "concise": text.concise(entries),
        "diff": "\n".join(text.unfixed(entries)),
        "github": github.render(Report(entries)),
        "json": json_report.render(Report(entries)),
        "summary": summary(entries, fixing=True),
    }
    for kind, report in reports.items():
        assert "owned" in report, kind
        assert not set(report) & {"\x1b", "\x07", "\x9b", "\u202e"}, kind


def test_a_source_cannot_send_commands_to_the_terminal() -> None:
    source = "x = '\x1b]0;owned\x07'\n"
    entry = Entry(finding(location=Position(1, 1), end_location=Position(1, 6), fix=None, message="\x1b[2J"), source)
    assert "\x1b" not in text.full([entry]) + text.concise([entry])


def edit(row: int, column: int, end_row: int, end_column: int, content: str) -> Edit:
    return Edit(Position(row, column), Position(end_row, end_column), content)


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ([edit(2, 1, 2, 1, "new\n")], ["+2 new"]),
        ([edit(2, 1, 3, 1, "")], ["-2 bb"]),
        ([edit(1, 2, 1, 2, "X"), edit(3, 1, 3, 1, "Y")], ["-1 aa", "+1 aXa", "-3 cc", "+3 Ycc"]),
        ([edit(2, 1, 2, 2, "X"), edit(2, 3, 2, 3, "Y")], ["-2 bb", "+2 XbY"]),
        ([edit(1, 3, 2, 1, " ")], ["-1 aa", "-2 bb", "+1 aa bb"]),
        ([edit(4, 1, 4, 1, "end\n")], ["+4 end"]),
        ([edit(1, 1, 1, 1, "x\ny\n"), edit(3, 1, 3, 3, "C")], ["+1 x", "+2 y", "-3 cc", "+5 C"]),
    ],
)
def test_a_small_diff_holds_the_changed_rows_alone(edits: list[Edit], expected: list[str]) -> None:
    assert [f"{change.sign}{change.row} {change.source}" for change in small_diff("aa\nbb\ncc\n", edits)] == expected


def test_concise_is_one_line_a_finding_and_marks_what_fix_would_try() -> None:
    unsafe = replace(FIX, applicability="unsafe")
    entries = [
        Entry(finding(), SOURCE, offered=True),
        Entry(finding(fix=None), SOURCE),
        Entry(finding(fix=unsafe), SOURCE),
    ]
    entries.append(Entry(finding(), SOURCE, fixed=True))
    message = "`.view` cannot express this layout"
    assert text.concise(entries).splitlines() == [
        f"a.py:2:{START}: MHA001 [*] {message}",
        f"a.py:2:{START}: MHA001 {message}",
        f"a.py:2:{START}: MHA001 {message}",
        f"a.py:2:{START}: MHA001 [fixed] {message}",
    ]


def test_paths_below_the_working_directory_are_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    assert shown_path(str(tmp_path / "in/a.py")) == "a.py"
    assert shown_path("./b/../a.py") == "a.py"
    assert shown_path(str(tmp_path / "out.py")) == str(tmp_path / "out.py")
    assert shown_path("-") == "-"


def test_json_has_the_promised_schema_and_nothing_else() -> None:
    (record,) = json.loads(json_report.render(Report([Entry(finding(verdict=VALIDATED), SOURCE)])))["findings"]
    assert record == {
        "code": "MHA001",
        "name": "view-of-transposed",
        "severity": "error",
        "message": "`.view` cannot express this layout",
        "filename": str(Path.cwd() / "a.py"),
        "cell": None,
        "location": {"row": 2, "column": START},
        "end_location": {"row": 2, "column": finding().end_location.column},
        "symbol": "f",
        "noqa_row": 2,
        "url": "https://github.com/mha-lint/mha-lint/blob/main/docs/rules/view-of-transposed.md",
        "fixable": False,
        "fixed": False,
        "suppressed": None,
        "gone": None,
        "fix": {
            "applicability": "safe",
            "relation": "repaired",
            "message": "make it contiguous first",
            "edits": [
                {
                    "content": ".contiguous()",
                    "location": {"row": 2, "column": INSERT},
                    "end_location": {"row": 2, "column": INSERT},
                }
            ],
        },
        "validation": {
            "verdict": "validated",
            "harness": "module",
            "reason": "",
            "stub": "",
            "counterexample": "",
            "unshown": False,
            "caveat": "",
            "tried": "x (3, 5, 24); eval; float32 on cpu; float32 on cuda. No more is proved.",
            "trials": [
                {
                    "device": device,
                    "dtype": "float32",
                    "mode": "eval",
                    "shapes": ["x: (3, 5, 24)"],
                    "max_abs_diff": 0.0,
                    "outcome": "agree",
                    "detail": "",
                }
                for device in ("cpu", "cpu", "cpu", "cuda", "cuda")
            ],
        },
    }


def test_json_of_nothing_is_an_empty_list_and_missing_parts_are_null() -> None:
    assert json.loads(json_report.render(Report([])))["findings"] == []
    (record,) = json.loads(json_report.render(Report([Entry(finding(fix=None), SOURCE)])))["findings"]
    assert record["fix"] is None
    assert record["validation"] is None


def test_json_stays_valid_whatever_the_differences_and_names_are() -> None:
    verdict = Verdict("refuted", trials=(trial(difference=float("nan")), trial(difference=float("inf"))))
    report = json_report.render(Report([Entry(finding(filename="\udcff.py", verdict=verdict), SOURCE)]))
    report.encode("ascii")
    (record,) = json.loads(report, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))["findings"]
    assert [t["max_abs_diff"] for t in record["validation"]["trials"]] == ["nan", "inf"]


def test_github_commands_are_escaped_and_name_the_severity() -> None:
    made = finding(filename="a,b:c.py", message="100% wrong\nreally")
    line = github.render(Report([Entry(made, SOURCE)]))
    end = made.end_location.column
    assert line == (
        f"::error title=mha-lint (MHA001),file=a%2Cb%3Ac.py,line=2,col={START},endLine=2,endColumn={end}"
        f"::a,b:c.py:2:{START}: MHA001 100%25 wrong%0Areally"
    )
    levels = [
        github.render(Report([Entry(finding(severity=s), SOURCE)])).split()[0] for s in ("error", "warning", "info")
    ]
    assert levels == ["::error", "::warning", "::notice"]


def test_github_does_not_annotate_what_was_fixed() -> None:
    assert github.render(Report([Entry(finding(), SOURCE, fixed=True)])) == ""


def test_statistics_count_by_rule() -> None:
    other = finding(code="MHA003", name="missing-output-projection", fix=None)
    entries = [Entry(f, SOURCE, offered=f.fixable()) for f in (other, finding(), finding())]
    assert statistics.as_text(Report(entries)).splitlines() == [
        "2  MHA001  [*] view-of-transposed",
        "1  MHA003  [ ] missing-output-projection",
    ]
    assert json.loads(statistics.as_json(Report(entries)))["rules"][1] == {
        "code": "MHA003",
        "name": "missing-output-projection",
        "count": 1,
        "fixable": False,
        "fixable_count": 0,
    }


def entries(*pairs: tuple[Verdict | None, bool]) -> list[Entry]:
    return [Entry(finding(verdict=verdict), SOURCE, fixed=fixed, offered=not fixed) for verdict, fixed in pairs]


UNSAFE = Entry(finding(fix=replace(FIX, applicability="unsafe")), SOURCE)
NO_FIX = Entry(finding(fix=None), SOURCE)


@pytest.mark.parametrize(
    ("found", "options", "expected"),
    [
        ([], {"fixing": False}, "All checks passed."),
        ([], {"fixing": True}, "All checks passed."),
        ([], {"fixing": False, "errors": 1}, "No findings, but 1 error."),
        ([], {"fixing": False, "errors": 2}, "No findings, but 2 errors."),
        ([NO_FIX], {"fixing": False}, "Found 1 finding (1 error)."),
        (
            entries((None, False)),
            {"fixing": False},
            "Found 1 finding (1 error).\n1 may be fixed with --fix (each is validated by execution first).",
        ),
        (
            [*entries((None, False), (None, False)), UNSAFE],
            {"fixing": False},
            "Found 3 findings (3 errors).\n2 may be fixed with --fix (each is validated by execution first); "
            "1 more with --unsafe-fixes.",
        ),
        (
            [UNSAFE],
            {"fixing": False},
            "Found 1 finding (1 error).\n"
            "1 may be fixed with --fix --unsafe-fixes (each is validated by execution first).",
        ),
        (
            [*entries((None, False)), replace(UNSAFE, offered=True)],
            {"fixing": False},
            "Found 2 findings (2 errors).\n2 may be fixed with --fix (each is validated by execution first).",
        ),
        (
            entries((VALIDATED, True), (VALIDATED, True), (REFUTED, False), (NOT_EXERCISED, False)),
            {"fixing": True},
            "Found 4 findings (4 errors): 2 fixed, 1 refuted, 1 not exercised (validated on cpu, cuda: NVIDIA H100).",
        ),
        (entries((NOT_EXERCISED, False)), {"fixing": True}, "Found 1 finding (1 error): 1 not exercised."),
        (
            [*entries((VALIDATED, True)), UNSAFE, NO_FIX],
            {"fixing": True, "diff": True},
            "Found 3 findings (3 errors): 1 would be fixed, 1 fixable only with --unsafe-fixes, 1 without a fix "
            "(validated on cpu, cuda: NVIDIA H100).",
        ),
        (
            entries((REFUTED, False)),
            {"fixing": True},
            "Found 1 finding (1 error): 1 refuted (executed on cpu).",
        ),
    ],
)
def test_the_summary_says_what_became_of_the_findings(
    found: list[Entry], options: dict[str, Any], expected: str
) -> None:
    assert summary(found, **options) == expected


def test_the_summary_counts_findings_by_severity() -> None:
    found = [Entry(finding(severity=each, fix=None), SOURCE) for each in ("info", "warning", "error", "info", "error")]
    assert summary(found, fixing=False) == "Found 5 findings (2 errors, 1 warning, 2 info)."
    assert summary(found[:1], fixing=True) == "Found 1 finding (1 info): 1 without a fix."


def test_a_fix_that_was_refuted_is_neither_shown_nor_counted_nor_given_to_programs() -> None:
    refused = Entry(finding(verdict=REFUTED), SOURCE)
    assert not refused.finding.fixable(unsafe=True)
    assert summary([refused], fixing=False) == "Found 1 finding (1 error)."
    shown = text.full([refused])
    assert "= refuted: outputs differ by 0.5" in shown
    assert "fix (" not in shown
    assert ".contiguous()" not in shown
    (record,) = json.loads(json_report.render(Report([refused])))["findings"]
    assert (record["fix"], record["validation"]["verdict"]) == (None, "refuted")


def test_the_summary_says_what_helps_where_no_way_to_run_the_code_was_found() -> None:
    hint = "construct the class with literal arguments"
    told = summary(entries((VALIDATED, True), (NO_HARNESS, False), (NO_HARNESS, False)), fixing=True)
    assert hint in told
    assert told.count(STUB.rstrip()) == 1
    others = [replace(NO_HARNESS, stub=STUB.replace("Attention", f"Attention{count}")) for count in range(5)]
    told = summary(entries(*((verdict, False) for verdict in others)), fixing=True)
    assert told.count("[tool.mha-lint.harness.") == 3
    assert told.endswith("\n\n(2 more are in the JSON report)")
    for verdict in (VALIDATED, NOT_EXERCISED, REFUTED):
        assert hint not in summary(entries((verdict, False)), fixing=True)


@pytest.mark.parametrize(
    ("made", "offered", "reason"),
    [
        (finding(verdict=REFUTED), False, "refuted: outputs differ by 0.5 on x: (3, 5, 24)"),
        (finding(verdict=NOT_EXERCISED), False, "not exercised: the changed lines never ran"),
        (finding(fix=None, no_fix_reason="`y` is used elsewhere"), False, "`y` is used elsewhere"),
        (finding(fix=None), False, "there is no fix"),
        (UNSAFE.finding, False, "its fix is unsafe (--unsafe-fixes allows it)"),
        (UNSAFE.finding, True, "not tried"),
        (finding(), True, "not tried"),
        (finding(verdict=VALIDATED), False, "validated, but the file cannot be rewritten"),
    ],
)
def test_each_finding_that_stays_has_a_line_with_the_reason(made: Finding, offered: bool, reason: str) -> None:
    (line,) = text.unfixed([Entry(finding(), SOURCE, fixed=True), Entry(made, SOURCE, offered=offered)])
    assert line == f"a.py:2:{START}: MHA001 would not be fixed: {reason}"


def test_the_summary_names_no_device_on_which_nothing_ran() -> None:
    verdict = replace(VALIDATED, trials=(trial(), trial("cuda", "skipped")))
    assert summary(entries((verdict, True)), fixing=True) == "Found 1 finding (1 error): 1 fixed (validated on cpu)."


def test_colours_paint_the_text_and_change_no_word() -> None:
    entry = Entry(finding(verdict=VALIDATED), SOURCE, fixed=True)
    painted = text.full([entry], colour=True)
    assert "\x1b[" in painted
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == text.full([entry])


def test_a_caveat_stands_beside_what_was_validated_and_a_counterexample_on_a_line_of_its_own() -> None:
    repaired = replace(VALIDATED, caveat="the error itself was not seen")
    shown = text.full([Entry(finding(verdict=repaired), SOURCE)])
    assert "= validated: module · cpu 3/3 · cuda 2/2 · bitwise · the error itself was not seen" in shown
    refuted = replace(REFUTED, counterexample="token 5 moves token 0")
    assert "= shown wrong: token 5 moves token 0" in text.full([Entry(finding(verdict=refuted), SOURCE)])
    assert "%0Ashown wrong: token 5 moves token 0" in github.render(Report([Entry(finding(verdict=refuted), SOURCE)]))
