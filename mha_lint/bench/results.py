"""What a bench found: plain, frozen data that go from a child to the report, the cache and the evidence."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from mha_lint.findings import Difference, Way

THRESHOLD = 0.03  # medians that are closer than this are no difference


class Spread(Struct, frozen=True):
    """The seconds of one call: the median over several measurements, and the quartiles around it."""

    median: float
    lower: float
    upper: float
    measurements: int


class Timed(Struct, frozen=True):
    """Before and after, measured in turns under the same conditions.

    ``way`` is "forward" (eval mode, no gradients) or "training" (train mode, forward and backward). ``memory_before``
    and ``memory_after`` are the most bytes that one call had allocated at a time, without inputs and parameters; None
    where that could not be measured.
    """

    device: str
    dtype: str
    preset: str
    shapes: tuple[str, ...]  # one for each tensor input, such as "x: (8, 1024, 768)"
    way: Way
    compiled: bool
    before: Spread
    after: Spread
    memory_before: int | None = None
    memory_after: int | None = None

    @property
    def ratio(self) -> float:
        """How many times the median before is the median after: above 1, after is faster."""
        return self.before.median / self.after.median

    @property
    def difference(self) -> Difference:
        """The outcome. There is none where medians differ by less than 3 %, or the quartiles overlap."""
        quicker, other = sorted((self.before, self.after), key=lambda spread: spread.median)
        if other.median < quicker.median * (1 + THRESHOLD) or other.lower <= quicker.upper:
            return "no difference"
        return "faster" if quicker is self.after else "slower"


class Left(Struct, frozen=True):
    """Something that was not measured, and why. Empty fields stand for all devices, dtypes, presets and ways."""

    why: str
    device: str = ""
    dtype: str = ""
    preset: str = ""
    way: Way | Literal[""] = ""
    compiled: bool = False


class Bench(Struct, frozen=True):
    """All that was measured of one fix. ``reason`` says why nothing was.

    ``called`` says what was built and called, at the last preset.
    """

    timed: tuple[Timed, ...] = ()
    left: tuple[Left, ...] = ()
    called: str = ""
    device_names: tuple[tuple[str, str], ...] = ()
    torch_version: str = ""
    reason: str = ""
    cached: bool = False

    @property
    def is_faster(self) -> bool:
        """Tell whether after is faster somewhere and slower nowhere."""
        found = {each.difference for each in self.timed}
        return "faster" in found and "slower" not in found

    @property
    def obstacle(self) -> str:
        """Why it can't be said to be faster, in words that continue "withheld: "; "" where it can."""
        if self.is_faster:
            return ""
        slower = [each for each in self.timed if each.difference == "slower"]
        if slower:
            most = min(slower, key=lambda each: each.ratio)
            kind = ", compiled" if most.compiled else ""
            place = f"{most.preset} on {most.device}, {most.dtype}{kind}"
            return f"{most.way} is {1 / most.ratio:.2f} times slower at {place}"
        return "no difference was measured" if self.timed else f"it was not timed: {self.reason or self._first_left()}"

    def _first_left(self) -> str:
        return self.left[0].why if self.left else "nothing was measured"
