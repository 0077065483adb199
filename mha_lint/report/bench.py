"""What ``--bench`` measured, as a table for a terminal and as JSON."""

from __future__ import annotations

import io
from collections.abc import Sequence

from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from mha_lint.bench.results import THRESHOLD, Bench, Left, Spread, Timed
from mha_lint.report.excerpt import printable
from mha_lint.report.records import Benched, Clocked, NotTimed, Timing

_WIDE = 200  # columns; the table takes what it needs
_STYLES = {"faster": "green", "slower": "red", "no difference": "dim"}
_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_BYTES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def headline(bench: Bench) -> str:
    """One line: ``1.32 to 1.51 times faster (4 of 6), no difference (2 of 6)``, and on what it was measured."""
    if not bench.timed:
        return printable(bench.obstacle)
    parts = []
    for outcome in ("faster", "slower", "no difference"):
        found = [each for each in bench.timed if each.difference == outcome]
        if found:
            parts.append(f"{_by_how_much(found)} ({len(found)} of {len(bench.timed)})")
    cached = " · from cache" if bench.cached else ""
    return f"{', '.join(parts)} · torch {printable(bench.torch_version)}{cached}"


def _by_how_much(timed: Sequence[Timed]) -> str:
    outcome = timed[0].difference
    if outcome == "no difference":
        return outcome
    ratios = sorted(each.ratio if outcome == "faster" else 1 / each.ratio for each in timed)
    least, most = f"{ratios[0]:.2f}", f"{ratios[-1]:.2f}"
    return f"{least} times {outcome}" if least == most else f"{least} to {most} times {outcome}"


def table(bench: Bench, *, colour: bool) -> list[str]:
    """The lines of the table, one row for each measurement, what was built, and a line for each thing left out."""
    columns = ("where", "size", "", "before", "after", "change", "peak memory")
    shown = Table(*columns, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for each in bench.timed:
        style = _STYLES[each.difference]
        shown.add_row(*_row(each)[:5], f"[{style}]{_change(each)}[/]", _memory(each))
    lines = _rendered(shown, colour) if bench.timed else []
    lines += [f"built, at the last size: {printable(bench.called)}"] if bench.called else []
    return [*lines, *(f"not timed: {printable(words)}" for words in _left_out(bench.left))]


def record(bench: Bench, withheld: str) -> Benched:
    """The whole of it, in seconds and bytes. ``withheld`` says why the fix was; None where it was not."""
    return Benched(
        withheld=withheld or None,
        reason=bench.reason,
        called=bench.called,
        torch=bench.torch_version,
        devices=dict(bench.device_names),
        no_difference_below=THRESHOLD,
        cached=bench.cached,
        timed=[_timed(each) for each in bench.timed],
        left_out=[
            NotTimed(each.why, each.device, each.dtype, each.preset, each.way, each.compiled) for each in bench.left
        ],
    )


def _timed(each: Timed) -> Timing:
    return Timing(
        device=each.device,
        dtype=each.dtype,
        preset=each.preset,
        shapes=list(each.shapes),
        way=each.way,
        compiled=each.compiled,
        before=_clocked(each.before),
        after=_clocked(each.after),
        ratio=each.ratio,
        difference=each.difference,
        memory_before=each.memory_before,
        memory_after=each.memory_after,
    )


def _clocked(spread: Spread) -> Clocked:
    return Clocked(spread.median, spread.lower, spread.upper, spread.measurements)


def _rendered(shown: Table, colour: bool) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=_WIDE, force_terminal=colour, color_system="standard" if colour else None)
    console.print(shown)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def _row(each: Timed) -> tuple[str, ...]:
    size = each.shapes[0].partition(": ")[2] if each.shapes else ""
    compiled = ", compiled" if each.compiled else ""
    return (
        f"{each.device} {each.dtype}",
        f"{each.preset} {printable(size)}".strip(),
        f"{each.way}{compiled}",
        _seconds(each.before),
        _seconds(each.after),
    )


def _seconds(spread: Spread) -> str:
    """The median, and half of the distance between the quartiles."""
    factor, unit = next((item for item in _UNITS if spread.median >= item[0]), _UNITS[-1])
    half = (spread.upper - spread.lower) / 2
    return f"{_rounded(spread.median / factor, 3)} {unit} ± {_rounded(half / factor, 2)}"


def _rounded(value: float, digits: int) -> str:
    """So many digits that count, or all before the point."""
    return f"{value:.0f}" if value >= 10 ** (digits - 1) else f"{value:.{digits}g}"


def _change(each: Timed) -> str:
    return each.difference if each.difference == "no difference" else _by_how_much([each])


def _memory(each: Timed) -> str:
    if each.memory_before is None or each.memory_after is None:
        return ""
    before, after = _bytes(each.memory_before), _bytes(each.memory_after)
    return before if before == after else f"{before} → {after}"


def _bytes(number: int) -> str:
    factor, unit = next((item for item in _BYTES if number >= item[0]), (1, "B"))
    return f"{_rounded(number / factor, 3)} {unit}"


def _left_out(left: Sequence[Left]) -> list[str]:
    """What was left out, and why, in words; presets that were left out for the same reason together."""
    presets: dict[Left, list[str]] = {}
    for each in left:
        presets.setdefault(replace(each, preset=""), []).append(each.preset)
    lines = []
    for each, names in presets.items():
        parts = [each.device, each.dtype, ", ".join(filter(None, names)), each.way]
        parts.append("compiled" if each.compiled else "")
        place = " ".join(part for part in parts if part)
        lines.append(f"{place}: {each.why}" if place else each.why)
    return lines
