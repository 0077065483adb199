"""The line that says what a validated fix was tried with, since nothing beyond that is proved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mha_lint.findings import Trial, Verdict

_SIZES_WIDTH = 29  # with the modes and dtypes of the CPU, the line then has at most 100 columns
_BOUNDARY = "No more is proved."

Dims = tuple[int, ...]


def in_words(verdict: Verdict) -> str:
    """``x (1-5, 1-12, 32); train, eval; float32, float64 on cpu. No more is proved.``

    Sizes are the least and the greatest of each dim. The text is "" where nothing was validated.
    """
    agreed = [trial for trial in verdict.trials if trial.outcome == "agree"]
    if verdict.verdict != "validated" or not agreed:
        return ""
    parts = [_sizes(agreed), ", ".join(dict.fromkeys(trial.mode for trial in agreed))]
    for device in dict.fromkeys(trial.device for trial in agreed):
        dtypes = dict.fromkeys(trial.dtype for trial in agreed if trial.device == device)
        parts.append(f"{', '.join(dtypes)} on {device}")
    return f"{'; '.join(part for part in parts if part)}. {_BOUNDARY}"


def _sizes(trials: Iterable[Trial]) -> str:
    """The sizes of each input; where there are many inputs, of the first ones."""
    tried: dict[tuple[str, int], list[Dims]] = {}  # by input and rank
    for trial in trials:
        for words in trial.shapes:
            name, dims = _parsed(words)
            tried.setdefault((name, len(dims)), []).append(dims)
    listed = [f"{name} ({_ranges(dims)})" for (name, _), dims in tried.items()]
    shown = [listed[0]] if listed else []
    for item in listed[1:]:
        if len(", ".join([*shown, item])) > _SIZES_WIDTH:
            break
        shown.append(item)
    left = len(listed) - len(shown)
    return ", ".join(shown) + (f" and {left} more" if left else "")


def _parsed(words: str) -> tuple[str, Dims]:
    """The name and the dims of ``x: (3, 9, 32) transposed storage``."""
    name, _, shape = words.rpartition(": (")
    sizes = [size.strip() for size in shape.partition(")")[0].split(",")]
    return name, tuple(int(size) for size in sizes if size.isdecimal())


def _ranges(tried: Sequence[Dims]) -> str:
    """``1-5, 32`` for tuples of one length."""
    ranges = []
    for sizes in zip(*tried, strict=True):
        least, greatest = min(sizes), max(sizes)
        ranges.append(f"{least}" if least == greatest else f"{least}-{greatest}")
    return ", ".join(ranges)
