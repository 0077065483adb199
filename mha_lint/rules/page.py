"""The page of a rule, as ``--explain`` prints it and ``docs/rules`` holds it."""

from __future__ import annotations

from inspect import cleandoc

from mha_lint.rules.base import Rule


def page(rule: type[Rule]) -> str:
    """Return the page in Markdown: what the class says of the rule, then the docstring of the class."""
    head = [f"**{rule.severity}**"]
    if not rule.default:
        head.append("off by default")
    head.append(f"fix: {rule.applicability}, relation *{rule.relation}*" if rule.applicability else "no fix")
    return f"# {rule.code} {rule.name}\n\n{' · '.join(head)}\n\n{cleandoc(rule.__doc__ or '')}\n"
