"""The page of a rule, as ``--explain`` prints it and ``docs/rules`` holds it."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import cleandoc

from mha_lint.findings import SYNTAX_ERROR
from mha_lint.report import RulePage
from mha_lint.rules import rule_of
from mha_lint.rules.base import Rule
from mha_lint.syntax_error import NAME, PAGE, WHY


def page(rule: type[Rule]) -> str:
    """Return the page in Markdown: what the class says of the rule, then the docstring of the class."""
    head = [f"**{rule.severity}**"]
    if not rule.default:
        head.append("off by default")
    head.append(f"fix: {rule.applicability}, relation *{rule.relation}*" if rule.applicability else "no fix")
    return f"# {rule.code} {rule.name}\n\n{' · '.join(head)}\n\n{cleandoc(rule.__doc__ or '')}\n"


def pages_of(codes: Iterable[str]) -> list[RulePage]:
    """What a report may say of some rules, in the order of their codes. No other rule is imported."""
    return [_page_of(code) for code in sorted(set(codes))]


def _page_of(code: str) -> RulePage:
    if code == SYNTAX_ERROR:
        return RulePage(code, NAME, "error", "a file that is not Python", WHY, PAGE)
    rule = rule_of(code)
    return RulePage(code, rule.name, rule.severity, rule.finds, rule.why, page(rule), rule.applicability, rule.relation)
