"""Writes docs/schema: the JSON Schema of each object that the command prints as JSON. ``make docs`` runs it."""

from __future__ import annotations

import json
from inspect import cleandoc
from pathlib import Path
from typing import Any

import msgspec

from mha_lint.report.records import SCHEMAS

FOLDER = Path(__file__).resolve().parent / "schema"
_BASE = "https://raw.githubusercontent.com/mha-lint/mha-lint/main/docs/schema"
_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, str]:
    """The name of each file in docs/schema, and its text."""
    return {f"{name}.schema.json": _schema(name, record) for name, record in SCHEMAS.items()}


def _schema(name: str, record: type[msgspec.Struct]) -> str:
    made = {"$schema": _DRAFT, "$id": f"{_BASE}/{name}.schema.json", **_readable(msgspec.json.schema(record))}
    return json.dumps(made, indent=2) + "\n"


def _readable(schema: Any) -> Any:
    """The schema with its descriptions, which are docstrings, as text without the indentation of the code.

    Of alternatives ``null`` is the last: msgspec gives them in an order that depends on its version.
    """
    if isinstance(schema, list):
        return sorted(map(_readable, schema), key=lambda each: each == {"type": "null"})
    if not isinstance(schema, dict):
        return schema
    return {
        key: cleandoc(value).replace("\n", " ") if key == "description" and isinstance(value, str) else _readable(value)
        for key, value in schema.items()
    }


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in schemas().items():
        path = FOLDER / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote docs/schema/{name}")


if __name__ == "__main__":
    main()
