"""Record what stood in the way of a search, as it goes on: of many failures, the one that got furthest."""

from __future__ import annotations

import traceback
from collections.abc import Mapping

from msgspec import Struct

from mha_lint.validation.child.imports import Loaded, in_one_line
from mha_lint.validation.child.stubs import StubTouched
from mha_lint.validation.search.plan import Plan
from mha_lint.validation.search.specs import Spec
from mha_lint.validation.search.targets import Target

Sketch = tuple[Target, Plan, Mapping[str, Spec]]


class Obstacles(Struct):
    """``sketch`` is the attempt that got furthest, ``broken`` the target whose declared harness did not work."""

    loaded: Loaded
    furthest: tuple[int, int, str] = (-1, 0, "")  # wanted statements and rows that the best failure ran; its words
    sketch: Sketch | None = None
    ran_without_reaching: str = ""
    missing_package: str = ""
    broken: str = ""
    stopped: BaseException | None = None  # what ended the call that got furthest with the plan at hand

    def in_words(self) -> str:
        """Describe what stood in the way, after a search without a result; the words continue a sentence."""
        if self.missing_package:
            return f": {self.missing_package}"
        if self.ran_without_reaching:
            return f": {self.ran_without_reaching} does not reach that"
        if self.broken:
            return f"; as declared for {self.broken}, {self.furthest[2]}"
        return f"; the attempt that got furthest: {self.furthest[2]}" if self.furthest[2] else ""

    def note(self, words: str, reached: int = 0, ran: int = 0, sketch: Sketch | None = None) -> None:
        """Keep the failure that got furthest, the first of its kind: it names what really stands in the way."""
        if (reached, ran) > self.furthest[:2] or not self.furthest[2]:
            self.furthest, self.sketch = (reached, ran, words), sketch

    def told(self, error: BaseException) -> str:
        """The error in one line, with the row of the file that raised it; a missing package is kept in mind."""
        if isinstance(error, StubTouched) and not self.missing_package:
            self.missing_package = str(error)
        rows = self.rows(error)
        return in_one_line(error) + (f" at line {rows[-1]}" if rows else "")

    def rows(self, error: BaseException) -> list[int]:
        """The rows of the file that were running when ``error`` was raised, the outermost first."""
        frames = traceback.extract_tb(error.__traceback__)
        return [frame.lineno or 0 for frame in frames if frame.filename == self.loaded.pseudo]
