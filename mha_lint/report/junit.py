"""``--output-format junit``: JUnit's XML, which most CI systems show: one suite a file, one failed test a finding."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from itertools import groupby
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from mha_lint.findings import Failure
from mha_lint.report import Entry, Report, portable_path
from mha_lint.report.excerpt import printable_lines
from mha_lint.report.text import verdict_line

_ILLEGAL = re.compile("[\ud800-\udfff\ufffe\uffff]")  # in XML 1.0, besides control characters
_NAME = "mha-lint"


def render(report: Report) -> str:
    """An XML document in ASCII. Where nothing was found it holds one test that has passed, as ruff's does."""
    suites = Element("testsuites", name=_NAME)
    for filename, failures in _by_file(report.failures):
        suite = _suite(suites, filename or _NAME)
        for failure in failures:
            error = SubElement(_case(suite, _NAME, filename), "error", message=_legal(failure.message))
            error.text = _legal(str(failure))
    for filename, entries in groupby(report.remaining, key=lambda entry: entry.finding.filename):
        suite = _suite(suites, filename)
        names: Counter[str] = Counter()
        for entry in entries:
            _add(suite, entry, names)
    if not len(suites):
        _case(_suite(suites, _NAME), "No findings", "")
    for element in (suites, *suites):
        element.set("tests", str(len(list(element.iter("testcase")))))
        for counted, tag in (("failures", "failure"), ("errors", "error")):
            element.set(counted, str(len(list(element.iter(tag)))))
    indent(suites)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(suites, "us-ascii").decode("ascii")}'


def _by_file(failures: Iterable[Failure]) -> Iterable[tuple[str, list[Failure]]]:
    by_file: dict[str, list[Failure]] = {}
    for failure in failures:
        by_file.setdefault(failure.filename, []).append(failure)
    return by_file.items()


def _suite(suites: Element, filename: str) -> Element:
    return SubElement(suites, "testsuite", name=_path(filename), package="mha_lint")


def _case(suite: Element, name: str, filename: str) -> Element:
    return SubElement(suite, "testcase", name=_legal(name), classname=_path(filename or _NAME))


def _add(suite: Element, entry: Entry, names: Counter[str]) -> None:
    """Add the test of a finding. Its name holds no row, so that it is the same test after an edit elsewhere."""
    finding = entry.finding
    name = " ".join(filter(None, (finding.code, finding.name, finding.symbol)))
    names[name] += 1
    case = _case(suite, f"{name} ({names[name]})" if names[name] > 1 else name, finding.filename)
    lines = [f"{_path(finding.filename)}:{entry.location()}: {finding.message}", finding.why]
    if finding.verdict:
        lines.append(f"{finding.verdict.verdict}: {verdict_line(finding.verdict)}")
    failure = SubElement(case, "failure", type=finding.severity, message=_legal(finding.message))
    failure.text = _legal("\n".join(lines))


def _path(filename: str) -> str:
    return _legal(filename if filename == _NAME else portable_path(filename))


def _legal(text: str) -> str:
    return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", printable_lines(text))
