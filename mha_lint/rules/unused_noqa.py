"""MHA099: a code in a ``noqa`` comment that silences nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mha_lint.findings import UNUSED_NOQA
from mha_lint.rules.base import Hit, Rule

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.syntax.places import Places


class UnusedNoqa(Rule):
    """## What it does

    Flags a code of mha-lint in a `# noqa: …` comment that silences no finding, as ruff's RUF100 does for its own.
    `# mha-lint: noqa: …` and `# flake8: noqa: …`, which hold for the whole file, are looked at, too.

    ## Why it matters

    The mistake was mended, or it never was there. The comment stays, and silences the next mistake on that line.

    ## Example

    ```python
    y = y.transpose(1, 2).contiguous().view(b, t, c)  # noqa: MHA001
    ```

    Use instead:

    ```python
    y = y.transpose(1, 2).contiguous().view(b, t, c)
    ```

    ## Fix

    Takes the code out of the comment; with the last one the comment goes, and the words that give its reason. Relation
    *comment*: the syntax tree of the file is the same before and after, so that nothing has to be executed, and torch
    is not needed.

    ## When it stays silent

    - The rule does not run on this file, by `select`, `ignore` or `per-file-ignores`: what it would find is not known.
      Of a prefix, such as `MHA1`, all rules must run.
    - The comment names no code, or one of another tool: flake8 and ruff read it as well.
    - No installed rule has this code.
    - The comment names MHA099 itself.
    - In a notebook, a line that only IPython reads, and a cell that Python can't read.
    - In flake8, which applies `# noqa` itself.

    ## References

    - [RUF100](https://docs.astral.sh/ruff/rules/unused-noqa/), unused-noqa, of ruff.
    """

    code = UNUSED_NOQA
    name = "unused-noqa"
    severity = "info"
    finds = "a code of ours in a `# noqa: …` that silences nothing"
    why = "A comment that silences nothing hides the next mistake on its line."
    default = False
    applicability = "safe"
    relation = "comment"
    valid = ("y = x.transpose(1, 2).view(b, t, c)  # noqa\n", "y = x.reshape(b, t, c)  # noqa: E501\n")
    invalid = ("y = x.transpose(1, 2).contiguous().view(b, t, c)  # noqa: MHA001\n",)

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[Any]]:
        """The model holds no comments: :func:`mha_lint.unused_noqa.unused` looks once all other rules have spoken."""
        return iter(())
