"""The plain, frozen data that flow through the tool: findings, fixes, edits, verdicts and trials."""

from __future__ import annotations

from bisect import bisect_left
from typing import Literal

from msgspec import Struct

from mha_lint.comparing import compared_without

Severity = Literal["error", "warning", "info"]
Applicability = Literal["safe", "unsafe"]
Relation = Literal["equivalent", "repaired", "extended", "corrected", "comment"]
VerdictName = Literal["validated", "refuted", "shown wrong", "not exercised", "unavailable"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "error")  # the least first
SYNTAX_ERROR = "MHA000"  # the code of a finding that says where a text is not Python
UNUSED_NOQA = "MHA099"  # the code of a finding about a comment that silences nothing
Expected = Literal["view", "half overflow", "device", "half phase"]
HALF_PHASE: Expected = "half phase"  # no error: angles that are computed in half precision
Way = Literal["forward", "training"]  # what is timed
Difference = Literal["faster", "slower", "no difference"]  # the outcome of timing
RAISES = "raises"  # a way to show code wrong, beside the names of probes
BREAKS = "graph break"  # another: the graph of ``torch.compile`` ends there


class Position(Struct, frozen=True, order=True):
    """A place in a text: ``row`` and ``column`` both count from 1; columns are in characters."""

    row: int
    column: int


class Cells(Struct, frozen=True):
    """Where the cells of a notebook stand in its program: the row above the first one of each, and its number.

    Cells are numbered from 1, those that hold no Python included.
    """

    rows: tuple[int, ...]
    numbers: tuple[int, ...]

    def place(self, position: Position) -> tuple[int, Position]:
        """The number of the cell that a position of the program lies in, and the position within the cell."""
        index = max(bisect_left(self.rows, position.row) - 1, 0)
        return self.numbers[index], Position(position.row - self.rows[index], position.column)


class Edit(Struct, frozen=True):
    """Replace the half-open range [``start``, ``end``) of the text by ``content``."""

    start: Position
    end: Position
    content: str


class Axes(Struct, frozen=True):
    """What a rule knows of the dimensions of a parameter of ``forward``: which is the batch, which are the tokens.

    Probes are told so, and need not guess. None where the rule does not know.
    """

    parameter: str
    batch: int | None = None
    tokens: int | None = None


class Fix(Struct, frozen=True):
    """A candidate rewrite of one finding.

    ``flagged`` are the rows of the original text where, for the relation *repaired*, the ``expected``
    error is raised, and which, for *corrected*, have to run. ``added`` names the parameters that, for the
    relation *extended*, the class gains in its ``state_dict`` (``("out_proj.weight", "out_proj.bias")``).
    ``identity`` names those it has already, which validation puts at the identity in both texts. The relation *comment*
    claims that both texts have the same syntax tree, and so nothing is executed for it.
    """

    applicability: Applicability
    relation: Relation
    message: str
    edits: tuple[Edit, ...]
    flagged: tuple[int, ...] = ()
    added: tuple[str, ...] = ()
    identity: tuple[str, ...] = ()
    hints: tuple[tuple[str, tuple[str | int, ...]], ...] = ()  # symbolic shapes of forward's parameters
    probes: tuple[str, ...] = ()  # for *corrected*: before violates one of them, after satisfies it
    axes: tuple[Axes, ...] = ()  # for *corrected*: what the probes may know of forward's parameters
    agree: str = ""  # for *corrected*: where both must agree: "train", "one token", …
    expected: Expected = "view"  # for *repaired*: what fails at the flagged rows
    only_if_faster: bool = False  # it may be slower: only a run that times it may apply it, and only where it is faster
    needs_torch: tuple[int, int] = (0, 0)  # what it writes is not in an older one; much of it is found without saying
    needs_python: tuple[int, int] = (0, 0)


class Demonstration(Struct, frozen=True):
    """Names the ways in which the code of a finding that has no fix is shown to be wrong by running it.

    ``ways`` are probes, one of which the code violates, or ``RAISES``: it raises an error at the ``flagged`` rows, or
    ``BREAKS``: the graph of ``torch.compile`` ends there.
    """

    ways: tuple[str, ...]
    flagged: tuple[int, ...]
    hints: tuple[tuple[str, tuple[str | int, ...]], ...] = ()  # symbolic shapes of forward's parameters
    axes: tuple[Axes, ...] = ()


class Trial(Struct, frozen=True):
    """One execution of *before* and *after* under one (device, dtype, mode, shapes)."""

    device: str  # "cpu", "cuda"
    dtype: str  # "float32"
    mode: str  # "train" or "eval"
    shapes: tuple[str, ...]  # one per tensor input, such as "x: (3, 5, 24)"; non-contiguous storage is named
    max_abs_diff: float | None  # largest absolute difference over outputs and gradients; None when it did not run
    outcome: str  # "agree", "differ", "raised", "not covered", "skipped"
    seed: int = 0
    detail: str = ""  # what differed or was raised, in words


class Verdict(Struct, frozen=True):
    """The answer of validation about one candidate rewrite.

    Under *corrected*, under *repaired* of a "half phase", and of code without a fix that is *shown wrong*,
    ``counterexample`` says what the original computes wrongly, and under which conditions. It is ``unshown`` where the
    original ran, time did not run out, and nothing could be shown to be wrong with it. ``caveat`` is what the claim
    asks for and the trials could not see on the devices that are there, or what the rewrite gives up.
    """

    verdict: VerdictName
    harness: str | None = None  # "module"; None when no harness was found
    reason: str = ""
    bitwise: bool = False  # every agreeing trial agreed to the last bit
    trials: tuple[Trial, ...] = ()
    device_names: tuple[tuple[str, str], ...] = ()  # (("cuda", "NVIDIA H100 80GB HBM3"),)
    torch_version: str = ""
    cached: bool = False
    stub: str = ""  # where no way was found to run it: a harness to correct, as TOML
    counterexample: str = ""
    unshown: bool = False
    caveat: str = ""


@compared_without("verdict")
class Finding(Struct, frozen=True):
    """One smell at one place. ``symbol`` is ``Class.method``, or the function's name, or empty."""

    code: str
    name: str
    severity: Severity
    message: str
    why: str  # one sentence: why it matters
    filename: str
    location: Position
    end_location: Position
    symbol: str
    noqa_row: int
    fix: Fix | None = None
    no_fix_reason: str = ""  # why there is no fix, where a reader would expect one
    demonstration: Demonstration | None = None  # where there is no fix
    statement: str = ""  # a digest of the statement that it is in, which formatting and comments leave as it is
    verdict: Verdict | None = None

    @property
    def refuted(self) -> bool:
        """Tell whether its fix was tried on these very bytes, and changed what it must not."""
        return self.verdict is not None and self.verdict.verdict == "refuted"

    @property
    def executed(self) -> bool:
        """Tell whether its fix, or the attempt to show it wrong, executes code."""
        return self.fix.relation != "comment" if self.fix is not None else self.demonstration is not None

    def fixable(self, *, unsafe: bool = False, timed: bool = False) -> bool:
        """Tell whether ``--fix`` tries its fix, alone or with ``--unsafe-fixes``; a refuted one is not tried again.

        One that may be slower is tried only where fixes are ``timed``, or where nothing is written.
        """
        if self.fix is None or self.refuted or (self.fix.only_if_faster and not timed):
            return False
        return unsafe or self.fix.applicability == "safe"


class Failure(Struct, frozen=True):
    """Something that could not be done: in a file, at ``row`` where known; ``filename`` is "" where it is the run."""

    message: str
    filename: str = ""
    row: int | None = None

    def __str__(self) -> str:
        place = self.filename if self.row is None else f"{self.filename}:{self.row}"
        return f"{place}: {self.message}" if place else self.message


# What the paths that were asked for held then: the digest of a file that was read, PRESENT for one of which it
# only matters that it is there, None where there was nothing. Of a folder, the digest of the files around.
PRESENT = ""
Dependencies = dict[str, str | None]


class Found(Struct, frozen=True):
    """The findings of one file in the order of their places, and the other files of the project that they depend on."""

    findings: tuple[Finding, ...]
    dependencies: Dependencies
