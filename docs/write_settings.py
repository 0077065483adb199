"""Writes the tables of keys and options in ``docs/settings.md``, and the schema of settings files: ``make docs``.

The tables have one row for each key that ``Settings`` declares, and for each option of the parser.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from mha_lint.options import parser
from mha_lint.rules import all_rules
from mha_lint.settings import Key, keys
from mha_lint.settings_file import choices_of, without_none

ROOT = Path(__file__).resolve().parents[1]
PAGE = "docs/settings.md"
SCHEMA = "docs/schema/settings.schema.json"
OF_KEYS = "<!-- `make docs` writes this table of keys -->\n"  # each ends at the next blank line
OF_OPTIONS = "<!-- `make docs` writes this table of options -->\n"
_OF_RULES = frozenset(
    ("select", "extend-select", "ignore", "fixable", "extend-fixable", "unfixable", "extend-safe-fixes",
     "extend-unsafe-fixes")
)  # fmt: skip


def texts() -> dict[str, str]:
    """The path of each file that is written here, and its text."""
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    page = _with_table(page, OF_KEYS, _key_rows())
    page = _with_table(page, OF_OPTIONS, _option_rows())
    return {PAGE: page, SCHEMA: json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"}


def stale() -> list[str]:
    """The paths of the files that are not as they should be."""
    return [path for path, text in texts().items() if _text(path) != text]


def _with_table(page: str, mark: str, rows: Iterator[str]) -> str:
    head, found, rest = page.partition(mark)
    assert found, f"{PAGE} has no line {mark.strip()}"
    _, _, behind = rest.partition("\n\n")
    return head + mark + "".join(rows) + "\n" + behind


# --- keys


def _key_rows() -> Iterator[str]:
    yield "| key | default | meaning |\n|---|---|---|\n"
    for key, known in keys().items():
        choices = choices_of(without_none(known.kind)) or _choices_of_items(known.kind)
        listed = f": {', '.join(f'`{json.dumps(each)}`' for each in choices)}" if choices else ""
        yield f"| `{key}` | {_default_text(known)} | {known.meaning.text}{listed} |\n"


def _default_text(known: Key) -> str:
    return known.meaning.default_text or ("none" if known.default is None else f"`{json.dumps(known.default)}`")


def _choices_of_items(hint: Any) -> tuple[str, ...]:
    kind = without_none(hint)
    items = get_args(kind)
    return choices_of(items[0]) if getattr(kind, "__origin__", None) is tuple else ()


# --- options


def _option_rows() -> Iterator[str]:
    yield "| option | meaning |\n|---|---|\n"
    for action in options():
        names = ", ".join(f"`{name}`" for name in action.option_strings)
        value = "" if action.nargs == 0 else f" `{action.metavar or '|'.join(map(str, action.choices or ()))}`"
        yield f"| {names}{value.replace('|', chr(92) + '|')} | {(action.help or '').replace('|', chr(92) + '|')} |\n"


def options() -> list[argparse.Action]:
    """The options of the command line, as ``--help`` lists them."""
    groups = parser()._action_groups
    return [action for group in groups for action in group._group_actions if action.option_strings]


# --- schema


def schema() -> dict[str, Any]:
    """The JSON schema (draft 7) of ``mha-lint.toml`` and of the table ``[tool.mha-lint]``."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "mha-lint",
        "description": "The settings of mha-lint, in mha-lint.toml or in [tool.mha-lint] of a pyproject.toml",
        "type": "object",
        "additionalProperties": False,
        "properties": {key: _of_key(key, known) for key, known in keys().items()},
        "definitions": {"rule": _of_rule(), "harness": _of_harness()},
    }


def _of_key(key: str, known: Key) -> dict[str, Any]:
    described = {"description": known.meaning.text, **_of_type(key, without_none(known.kind))}
    return described if known.default is None or key == "harness" else {**described, "default": known.default}


def _of_type(key: str, kind: Any) -> dict[str, Any]:
    if key == "harness":
        return {"type": "object", "additionalProperties": {"$ref": "#/definitions/harness"}}
    if key == "target-torch":
        return {"type": "string", "pattern": r"^[0-9]+\.[0-9]+$"}
    if choices := choices_of(kind):
        return {"enum": list(choices)}
    if kind in (bool, str):
        return {"type": "boolean" if kind is bool else "string"}
    rule = {"$ref": "#/definitions/rule"}
    if getattr(kind, "__origin__", None) is not tuple:
        assert kind == Mapping[str, tuple[str, ...]], f"no schema for {key}: {kind}"
        return {"type": "object", "additionalProperties": {"type": "array", "items": rule}}
    if choices := choices_of(get_args(kind)[0]):
        return {"type": "array", "items": {"enum": list(choices)}}
    return {"type": "array", "items": rule if key in _OF_RULES else {"type": "string"}}


def _of_rule() -> dict[str, Any]:
    rules = [rule for rule in all_rules() if rule.__module__.startswith("mha_lint.")]  # others may be installed
    known = ["ALL", *(rule.code for rule in rules), *(rule.name for rule in rules)]
    return {
        "description": "The code, a prefix of codes or the name of a rule, or ALL",
        "anyOf": [{"enum": known}, {"type": "string", "minLength": 1}],
    }


def _of_harness() -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "init": {"type": ["object", "string"]},
            "inputs": {"type": "object"},
            "factory": {"type": "string", "pattern": "^[^:]+:[^:]+$"},
        },
    }


def _text(path: str) -> str | None:
    file = ROOT / path
    return file.read_text(encoding="utf-8") if file.exists() else None


def main() -> None:
    written = texts()
    for path in stale():
        (ROOT / path).parent.mkdir(exist_ok=True)
        (ROOT / path).write_text(written[path], encoding="utf-8")
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
