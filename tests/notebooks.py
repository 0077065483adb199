"""Notebooks as text, for tests: in the forms in which Jupyter, editors and people leave them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from samples import BROKEN

PYTHON = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "version": "3.11.0"},
}
IMPORTS, CLASS = BROKEN.split("\n\n\n", 1)
CLASS = CLASS.rstrip("\n")
ROW = 1 + CLASS[: CLASS.index("y = (weights")].count("\n")  # of the finding, in its cell
COLUMN = 43


def code(source: str, *, whole: bool = False, outputs: Sequence[object] = (), **metadata: object) -> dict[str, Any]:
    """A cell of code, whose source is a list of lines, or one string where it is ``whole``."""
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": metadata,
        "outputs": list(outputs),
        "source": source if whole else source.splitlines(keepends=True),
    }


def text(source: str) -> dict[str, Any]:
    """A cell of Markdown."""
    return {"cell_type": "markdown", "metadata": {}, "source": source.splitlines(keepends=True)}


def notebook(*cells: dict[str, Any], indent: int | None = 1, end: str = "\n", **top: Any) -> str:
    """The JSON of a notebook, in Python unless its ``metadata`` says otherwise."""
    document = {"cells": list(cells), "metadata": PYTHON, "nbformat": 4, "nbformat_minor": 5, **top}
    return json.dumps(document, indent=indent, ensure_ascii=False) + end


def broken(**form: Any) -> str:
    """A notebook with one finding, in its third cell."""
    return notebook(text("# Attention\n"), code(f"%matplotlib inline\n{IMPORTS}"), code(CLASS), **form)
