"""Code as people write it: every marked finding is found and nothing else, and each fix is validated by execution."""

from __future__ import annotations

import ast
import difflib
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from corpus_files import SUMMED_OTHERWISE, CorpusFile, corpus, execute, one_of_each_folder, settings_for
from msgspec.structs import replace

from mha_lint.files import Source, decode, read_source
from mha_lint.findings import Finding
from mha_lint.linter import lint
from mha_lint.model.attention import analyse
from mha_lint.rules import all_rules
from mha_lint.settings import Settings
from mha_lint.syntax.module import Module
from mha_lint.syntax.places import Places

if TYPE_CHECKING:
    from mha_lint.fixing import Fixed
    from mha_lint.validation import Validator

FILES = corpus()
MARKED = [file for file in FILES if file.expected]
# What is corrected computes something else, and a new layer draws from the generator, so that the weights differ.
CHANGING = {rule.code for rule in all_rules() if rule.relation in ("corrected", "extended")}
SAFE = {rule.code for rule in all_rules() if rule.applicability == "safe"}
EXECUTED = [file for file in FILES if file.notes("run")]


def each(files: list[CorpusFile], *, quick: frozenset[str] | None = None) -> pytest.MarkDecorator:
    """Parametrise a test over corpus files, of which those in ``quick`` run among the quick tests; None for all."""
    parameters = []
    for file in files:
        is_quick = quick is None or file.name in quick
        parameters.append(pytest.param(file, id=file.name, marks=() if is_quick else pytest.mark.slow))
    return pytest.mark.parametrize("file", parameters)


# --- the marks themselves


def test_corpus_has_clean_counterparts_and_every_rule_in_many_guises() -> None:
    codes = [code for file in FILES for code, _ in file.expected]
    assert min(codes.count(code) for code in ("MHA001", "MHA002", "MHA003")) >= 15
    assert len(FILES) - len(MARKED) >= 20


@each(FILES)
def test_every_corpus_file_is_executed_or_says_why_not(file: CorpusFile) -> None:
    assert bool(file.notes("run")) != bool(file.notes("not run"))


@each(EXECUTED)
def test_marks_of_mha001_are_the_rows_whose_view_torch_refuses(file: CorpusFile) -> None:
    pytest.importorskip("torch")
    refused = frozenset[int]().union(*(execute(file, file.text, run).refused for run in file.notes("run")))
    assert refused - file.excused == {row for code, row in file.expected if code == "MHA001"}


# --- linting


@each(FILES)
def test_findings_are_exactly_the_marks(file: CorpusFile) -> None:
    findings = lint(read_source(file.path), settings_for(file)).findings
    assert sorted(marks(findings), key=lambda mark: mark[::-1]) == sorted(file.expected, key=lambda mark: mark[::-1])


@each(FILES, quick=one_of_each_folder(FILES))
def test_what_is_not_interpreted_has_no_findings(file: CorpusFile) -> None:
    module = Module(file.text)
    places = Places(module)
    rules = [rule() for rule in all_rules()]
    some, every = (analyse(module, every=flag) for flag in (False, True))
    for rule in rules:
        assert [hit.first for hit in rule.check(some, places)] == [hit.first for hit in rule.check(every, places)]


@each(MARKED)
def test_findings_point_into_the_source_and_explain_themselves(file: CorpusFile) -> None:
    lines = file.text.splitlines()
    for finding in lint(read_source(file.path), settings_for(file)).findings:
        assert finding.location < finding.end_location
        assert 1 <= finding.location.column <= len(lines[finding.location.row - 1])
        assert finding.message
        assert finding.why
        assert finding.symbol.split(".")[0] in file.text
        assert finding.fix is not None or finding.no_fix_reason


# --- fixing


@pytest.fixture(scope="module")
def validator() -> Iterator[Validator]:
    pytest.importorskip("torch")
    from mha_lint.validation import Validator

    with Validator(devices=("cpu",), timeout=600.0) as running:  # other tests run beside this one
        yield running


@pytest.fixture(scope="module")
def fixed_files(validator: Validator, tmp_path_factory: pytest.TempPathFactory) -> FixedFiles:
    return FixedFiles(validator, tmp_path_factory)


class FixedFiles:
    """Fixes each corpus file once, in a folder of its own, so that no other file can lend it a harness."""

    def __init__(self, validator: Validator, folders: pytest.TempPathFactory) -> None:
        self.validator = validator
        self._folders = folders
        self._known: dict[str, tuple[Source, Fixed]] = {}

    def __call__(self, file: CorpusFile) -> tuple[Source, Fixed]:
        """The copy of ``file`` and what became of it, with unsafe fixes where its head asks for them."""
        if file.name not in self._known:
            copy = self._folders.mktemp(file.path.stem) / file.path.name
            copy.write_text(file.text, encoding="utf-8")
            source = read_source(copy)
            self._known[file.name] = source, fix(source, settings_for(file), self.validator)
        return self._known[file.name]


def fix(source: Source, settings: Settings, validator: Validator) -> Fixed:
    from mha_lint.fixing import fix_source

    return fix_source(source, list(lint(source, settings).findings), settings, validator)


def is_left_alone(file: CorpusFile) -> bool:
    """Whether the head says that no fix is written."""
    return bool(file.notes("not exercised")) or any(note.startswith("none") for note in file.notes("fix"))


TO_FIX = [file for file in MARKED if not is_left_alone(file)]
LEFT_ALONE = [file for file in MARKED if is_left_alone(file)]
# One fix of each relation; the rest of those tests is what validation costs.
_QUICK_FOLDERS = {"dropout", "mask_half", "projection", "unbind", "view"}
QUICK = one_of_each_folder([file for file in TO_FIX if file.path.parent.name in _QUICK_FOLDERS])


@each(TO_FIX, quick=QUICK)
def test_every_fix_is_validated_and_leaves_nothing_to_report(file: CorpusFile, fixed_files: FixedFiles) -> None:
    source, fixed = fixed_files(file)
    assert [told(finding) for finding in fixed.remaining] == []
    assert sorted(marks(fixed.fixed)) == sorted(file.expected)
    for finding in fixed.fixed:
        assert finding.verdict is not None
        assert finding.verdict.verdict == "validated"
        assert any(trial.outcome == "agree" for trial in finding.verdict.trials)
    again = decode(source.path, fixed.text.encode())
    assert marks(lint(again, settings_for(file)).findings) == []


@each(LEFT_ALONE, quick=QUICK)
def test_what_is_left_alone_says_why_and_changes_nothing(file: CorpusFile, fixed_files: FixedFiles) -> None:
    source, fixed = fixed_files(file)
    assert fixed.text == source.text
    assert sorted(marks(fixed.remaining)) == sorted(file.expected)
    for finding in fixed.remaining:
        if file.notes("not exercised"):
            assert finding.verdict is not None
            assert finding.verdict.verdict == "not exercised"
            assert finding.verdict.reason
        elif finding.fix is not None:
            assert finding.fix.applicability == "unsafe" or finding.fix.only_if_faster  # which was not asked for
        else:
            assert finding.no_fix_reason


@each([file for file in TO_FIX if "unsafe" in file.notes("fix")], quick=QUICK)
def test_unsafe_fixes_are_not_applied_unless_asked_for(file: CorpusFile, validator: Validator, tmp_path: Path) -> None:
    copy = tmp_path / file.path.name
    copy.write_text(file.text, encoding="utf-8")
    fixed = fix(read_source(copy), replace(settings_for(file), unsafe_fixes=False), validator)
    safe = marks(fixed.fixed)
    assert {code for code, _ in safe} <= SAFE
    assert len(fixed.remaining) == len(file.expected) - len(safe) > 0
    assert all(finding.fix is not None and finding.fix.applicability == "unsafe" for finding in fixed.remaining)
    assert safe or fixed.text == file.text


@each(TO_FIX, quick=QUICK)
def test_a_second_fix_changes_nothing(file: CorpusFile, fixed_files: FixedFiles) -> None:
    source, fixed = fixed_files(file)
    again = decode(source.path, fixed.text.encode())
    source.path.write_text(fixed.text, encoding="utf-8")
    try:
        assert fix(again, settings_for(file), fixed_files.validator).text == fixed.text
    finally:
        source.path.write_text(file.text, encoding="utf-8")


@each([file for file in TO_FIX if file.notes("run")], quick=QUICK)
def test_fixed_module_runs_and_computes_what_the_original_meant(file: CorpusFile, fixed_files: FixedFiles) -> None:
    torch = pytest.importorskip("torch")
    _, fixed = fixed_files(file)
    for expression in file.notes("run"):
        before, after = execute(file, file.text, expression), execute(file, fixed.text, expression)
        assert after.refused <= file.excused
        from_half = "MHA120" in dict(file.expected) and "unsafe" in file.notes("fix")  # it was half in float32, too
        if from_half or CHANGING & dict(file.expected).keys():
            assert [tuple(t.shape) for t in tensors(after.value)] == [tuple(t.shape) for t in tensors(before.value)]
        else:
            rounded = not SUMMED_OTHERWISE.isdisjoint(dict(file.expected))
            tolerance = {} if rounded else {"rtol": 0, "atol": 0}
            torch.testing.assert_close(tensors(after.value), tensors(before.value), **tolerance)


@each(TO_FIX, quick=QUICK)
def test_comments_survive_a_fix_but_those_that_it_says_no_longer_hold(
    file: CorpusFile, fixed_files: FixedFiles
) -> None:
    _, fixed = fixed_files(file)
    messages = " ".join(finding.fix.message for finding in fixed.fixed if finding.fix is not None)
    kept = [comment for comment in comments(file.text) if f"`{comment}`" not in messages]
    assert sorted(comments(fixed.text)) == sorted(kept)


@each(TO_FIX, quick=QUICK)
def test_a_fix_touches_nothing_outside_the_class_or_function_it_mends(
    file: CorpusFile, fixed_files: FixedFiles
) -> None:
    _, fixed = fixed_files(file)
    mended = set()
    for node in ast.parse(file.text).body:
        rows = range(node.lineno, (node.end_lineno or node.lineno) + 1)
        imports = isinstance(node, ast.Import | ast.ImportFrom)  # they go where nothing else uses them
        if imports or any(row in rows for _, row in file.expected):
            mended.update(rows)
    assert touched_rows(file.text, fixed.text) <= mended


@each([file for file in TO_FIX if {code for code, _ in file.expected} == {"MHA001"}], quick=QUICK)
def test_a_view_fix_touches_the_flagged_rows_or_puts_a_line_before_one(
    file: CorpusFile, fixed_files: FixedFiles
) -> None:
    _, fixed = fixed_files(file)
    before = {row - 1 for _, row in file.expected}  # where an inserted line is counted
    assert touched_rows(file.text, fixed.text) <= before.union(row for _, row in file.expected)


# --- helpers


def marks(findings: Iterable[Finding]) -> list[tuple[str, int]]:
    return [(finding.code, finding.location.row) for finding in findings]


def means_another(fixed: Fixed) -> bool:
    """Whether a fix changes, on purpose, what the module computes on any input."""
    return any(f.fix is not None and f.fix.relation == "corrected" and not f.fix.agree for f in fixed.fixed)


def told(finding: Finding) -> str:
    """One line that says why a finding was left, for the failure message."""
    verdict = finding.verdict
    outcome = f"{verdict.verdict}: {verdict.reason}" if verdict else finding.no_fix_reason or "no verdict"
    return f"{finding.code} row {finding.location.row}: {outcome}"


def touched_rows(before: str, after: str) -> set[int]:
    """The rows of ``before`` that ``after`` does not have as they were; an insertion counts as the row before it."""
    matcher = difflib.SequenceMatcher(None, before.splitlines(), after.splitlines(), autojunk=False)
    rows: set[int] = set()
    for tag, start, end, _, _ in matcher.get_opcodes():
        if tag in ("replace", "delete"):
            rows.update(range(start + 1, end + 1))
        elif tag == "insert":
            rows.add(start)
    return rows


def comments(text: str) -> list[str]:
    """The comments of a text; two that share a line count as two."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    found = [token.string for token in tokens if token.type == tokenize.COMMENT]
    return [part.strip() for comment in found for part in re.findall("#[^#]*", comment)]


def tensors(value: Any) -> list[Any]:
    """The tensors in a module's output, in order."""
    import torch

    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, (tuple, list)):
        return [tensor for item in value for tensor in tensors(item)]
    return []
