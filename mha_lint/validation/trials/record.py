"""Record what the trials of one job have shown, and tell whether it suffices for a verdict."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

import torch
from msgspec import Struct, field
from msgspec.structs import replace

from mha_lint.findings import Trial, Verdict, VerdictName
from mha_lint.validation.child import imports, isolation, stubs
from mha_lint.validation.job import Job
from mha_lint.validation.search.harness import Search
from mha_lint.validation.trials import drawing
from mha_lint.validation.trials.coverage import Statement, in_words
from mha_lint.validation.trials.pairing import Refuted, Sources

NEEDED = 4  # distinct input shapes that a verdict needs on each device
HALF = (torch.float16, torch.bfloat16)
DTYPES = {
    "cpu": (torch.float32, torch.float64),
    "cuda": (torch.float32, torch.bfloat16, torch.float16),
}
UNSEEN = "the error itself was not seen, since no CUDA device ran: on cpu, both compute the same"


class Record(Struct):
    """Hold what the trials have shown so far."""

    trials: list[Trial] = field(default_factory=list)
    ran_before: set[Statement] = field(default_factory=set)
    ran_after: set[Statement] = field(default_factory=set)
    met: set[Statement] = field(default_factory=set)  # flagged statements at which before was seen to raise
    apart: bool = False  # an agreeing trial differed from plain before, in the layout's rounding alone
    rounded: bool = False  # an agreeing trial differed from before within the bound on rounding
    moved: bool = False  # new parameters did not start at the identity and were put there

    def agreeing(self, device: str | None = None) -> list[Trial]:
        return [item for item in self.trials if item.outcome == "agree" and device in (None, item.device)]


class Noting(Struct, frozen=True):
    """Writes the trial that is under way into the record."""

    record: Record
    conditions: drawing.Conditions
    shapes: tuple[str, ...]

    def __call__(self, outcome: str, largest: float | None, detail: str) -> None:
        at = self.conditions
        mode = "train" if at.training else "eval"
        self.record.trials.append(Trial(at.device, at.name, mode, self.shapes, largest, outcome, at.seed, detail))

    def counterexample(self, detail: str) -> str:
        at = self.conditions
        mode = "train" if at.training else "eval"
        kernel = f", attention's {at.kernel} kernel" if at.kernel else ""
        return f"{detail} ({', '.join(self.shapes)}; {at.name} on {at.device}{kernel}, {mode} mode, seed {at.seed})"

    def refute(self, detail: str, largest: float | None = None) -> NoReturn:
        """Note a difference, and raise Refuted with it."""
        self("differ", largest, detail)
        raise Refuted(self.counterexample(detail))

    def skipped(self, error: BaseException) -> None:
        """Note that before itself does not run."""
        self("skipped", None, f"before raises {imports.in_one_line(error)}")

    def errors(self, before: BaseException | None, after: BaseException | None) -> None:
        """Both raise alike: nothing learnt. A stand-in touched: nothing ran. Only one raises: a counterexample."""
        for error in (before, after):
            if isinstance(error, (stubs.StubTouched, isolation.Refused, MemoryError)):
                self("raised", None, imports.in_one_line(error))
                return
        if before is not None and type(before) is type(after):
            self("skipped", None, f"before and after both raise {imports.in_one_line(before)}")
            return
        if before is None:
            assert after is not None
            detail = f"only after raises {imports.in_one_line(after)}"
        else:
            seen = "succeeds" if after is None else f"raises {imports.in_one_line(after)}"
            detail = f"before raises {imports.in_one_line(before)}, after {seen}"
        self("raised", None, detail)
        raise Refuted(self.counterexample(detail))


def verdict_of(
    verdict: VerdictName,
    devices: dict[str, str],
    level: str | None = None,
    reason: str = "",
    trials: tuple[Trial, ...] = (),
    bitwise: bool = False,
) -> Verdict:
    """A verdict of this torch, on these devices."""
    names = tuple(sorted(devices.items()))
    return Verdict(verdict, level, reason, bitwise, trials, names, str(torch.__version__))


def shortfall(record: Record, sources: Sources, devices: Iterable[str]) -> str:
    """Why the trials do not suffice for a verdict; "" when they do."""
    for device in sorted(devices):
        here = record.agreeing(device)
        if not here:
            details = [item.detail for item in record.trials if item.device == device and item.detail]
            return f"no trial on {device} counted" + (f": {details[0]}" if details else "")
        shapes = {tuple(_bare(shape) for shape in item.shapes) for item in here}
        if len(shapes) < NEEDED:
            ran = "; ".join(", ".join(shape) for shape in sorted(shapes))
            return f"only {len(shapes)} input shapes ran on {device}, {NEEDED} are needed: {ran}"
        if {item.mode for item in here} != {"train", "eval"}:
            return f"only {here[0].mode} mode ran on {device}"
        if device == "cpu" and len({item.dtype for item in here}) < 2:
            return f"only {here[0].dtype} ran on cpu"
    for text, wanted, covered in (
        ("before", sources.changed_before, record.ran_before),
        ("after", sources.changed_after, record.ran_after),
    ):
        if missing := wanted - covered:
            return f"in the text {text}, {in_words(missing)} never ran"
    exact = {item.mode for item in record.agreeing() if item.dtype == "float64"}
    if record.rounded and exact != {"train", "eval"}:
        return "it rounds differently, and no float64 trial tells that from another meaning"
    silent = sorted(item.first for item in sources.flagged - record.met)
    if sources.job.relation == "repaired" and not sources.flagged:
        return "no line is flagged"
    if sources.job.relation == "repaired" and silent and not error_out_of_reach(sources.job, devices):
        return f"the error was never raised at line {', '.join(map(str, silent))}"
    return ""


def error_out_of_reach(job: Job, devices: Iterable[str]) -> bool:
    """Tell whether a repair is about an error that none of these devices could raise."""
    return job.relation == "repaired" and job.expected == "device" and "cuda" not in devices


def unreached(search: Search, job: Job, devices: dict[str, str]) -> Verdict:
    """The verdict where no way was found to run the changed lines, or those that are to be shown wrong."""
    lines = "the flagged lines" if job.relation == "wrong" else "the changed lines"
    what = in_words(item for item in search.wanted if item.mark) or lines
    reason = f"no way was found to run {what}{search.notes.in_words()}"
    stub = search.stub(imports.place_of(job.path).name.removeprefix("_mha_lint_subject_"))
    return replace(verdict_of("not exercised", devices, reason=reason), stub=stub)


def _bare(shape: str) -> str:
    """A shape without the note on how it lies in memory: the same sizes stored otherwise are no new sizes."""
    return shape.partition(")")[0] + ")"
