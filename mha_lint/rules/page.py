"""The page of a rule, as ``--explain`` prints it and ``docs/rules`` holds it."""

from __future__ import annotations

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


def page_of(code: str) -> RulePage:
    """What a report may say of a rule. No other rule is imported."""
    if code == SYNTAX_ERROR:
        return RulePage(code, NAME, "error", "a file that is not Python", WHY, PAGE)
    rule = rule_of(code)
    return RulePage(code, rule.name, rule.severity, rule.finds, rule.why, page(rule), rule.applicability, rule.relation)
