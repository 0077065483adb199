"""Writes docs/speed.md and its plots from what ``tests/bench/speed.py`` measured: ``make speed``.

Each file ``docs/speed/*.json`` holds the measurements of one machine. matplotlib is in the extra ``plots``.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mha_lint.rules import all_rules

FOLDER = Path(__file__).resolve().parent
MEASURED = FOLDER / "speed"
PAGE = FOLDER / "speed.md"
WAYS = ("forward", "training")

_HEAD = """\
# How much faster the fixes are

The tool measured what stands here: `--bench` timed each fix of the rules about speed in `examples/`, once it was
validated. [Timing fixes](bench.md) says how that is done and when two times are *no difference*. A ratio of 2 means
that the code takes half of the time after the fix. Your own code is another matter: `mha-lint --diff --bench FILE`
measures it.

    python tests/bench/speed.py --device cuda --out docs/speed/h100.json
    python tests/bench/speed.py --device cuda --compile --out docs/speed/h100-compiled.json
    python tests/bench/speed.py --device cpu --out docs/speed/cpu.json
    make speed

The last one makes this page and its plots of the files `docs/speed/*.json`, which have every measurement, with the
quartiles. The time is that of the whole module, its projections too: forward in eval mode, or forward and backward
in train mode.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement: milliseconds (lower quartile, median, upper quartile) and MiB."""

    rule: str
    example: str
    machine: str
    dtype: str
    size: str
    way: str
    compiled: bool
    difference: str
    before: tuple[float, float, float]
    after: tuple[float, float, float]
    memory: tuple[float, float] | None

    @property
    def ratio(self) -> float:
        return self.before[1] / self.after[1]

    @property
    def conditions(self) -> str:
        """The machine, the dtype and the mode, as a panel of a plot is headed."""
        return f"{self.machine}, {self.dtype}, {'compiled' if self.compiled else 'eager'}"


def read(findings: Iterable[dict[str, Any]]) -> Iterator[Row]:
    """The measurements in a file."""
    for finding in findings:
        example = f"{finding['symbol'].partition('.')[0]} ({finding['example']})"
        for row in finding["rows"]:
            memory = (row["memory_before"], row["memory_after"])
            yield Row(
                finding["rule"],
                example,
                _machine(finding),
                row["dtype"],
                row["preset"],
                row["way"],
                row["compiled"],
                row["difference"],
                tuple(row["before"]),
                tuple(row["after"]),
                None if None in memory else memory,
            )


def _machine(finding: dict[str, Any]) -> str:
    name = str(finding["device"])
    return re.sub(r"^NVIDIA | 80GB HBM3$", "", name) if name.startswith("NVIDIA") else "CPU"


def page(files: dict[str, list[dict[str, Any]]]) -> str:
    """The whole page."""
    rows = [row for findings in files.values() for row in read(findings)]
    parts = [_HEAD, "\n".join(_machines(files))]
    for rule in all_rules():
        of_rule = [row for row in rows if row.rule == rule.code]
        if of_rule:
            title = f"## {rule.code} {rule.name}"
            link = f"[What it finds and rewrites](rules/{rule.name}.md)."
            plot = f"![Ratios of {rule.code} over sizes](speed/{rule.code}.svg)"
            parts.append("\n\n".join([title, link, "\n".join(_summary(of_rule)), plot, "\n".join(_table(of_rule))]))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _machines(files: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    yield "| file | device | processor | torch | Python | commit | date |"
    yield "|---|---|---|---|---|---|---|"
    for name, findings in sorted(files.items()):
        seen = {
            (_machine(item) if item["device"].startswith("NVIDIA") else "CPU", item["processor"], item["torch"],
             item["python"], item["commit"], item["date"])
            for item in findings if item["rows"]
        }  # fmt: skip
        for row in sorted(seen):
            yield f"| `{name}` | {' | '.join(row)} |"


def _summary(rows: list[Row]) -> Iterator[str]:
    """For each machine, dtype and mode: how many measurements are faster, slower, or no difference."""
    for conditions in _ordered(row.conditions for row in rows):
        parts = []
        for way in WAYS:
            here = [row for row in rows if row.conditions == conditions and row.way == way]
            if here:
                parts.append(f"{way} {_counted(here)}")
        yield f"- {conditions}: {'; '.join(parts)}."


def _counted(rows: list[Row]) -> str:
    parts = []
    for outcome in ("faster", "slower", "no difference"):
        found = [row.ratio for row in rows if row.difference == outcome]
        if not found:
            continue
        ratios = sorted(found if outcome == "faster" else [1 / ratio for ratio in found])
        span = f"{ratios[0]:.2f}" if len(ratios) == 1 else f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
        words = outcome if outcome == "no difference" else f"{span} times {outcome}"
        parts.append(f"{words} in {len(found)} of {len(rows)}")
    return ", ".join(parts)


def _table(rows: list[Row]) -> Iterator[str]:
    """Each example at each size, eager, in the type that its device is used with."""
    usual = {"CPU": "float32"}
    shown = [row for row in rows if not row.compiled and row.dtype == usual.get(row.machine, "bfloat16")]
    yield "| example | where | batch × tokens × width | forward, ms | training, ms | peak memory in training, MiB |"
    yield "|---|---|---|---:|---:|---:|"
    for example in _ordered(row.example for row in shown):
        for conditions in _ordered(row.conditions for row in shown):
            here = [row for row in shown if row.example == example and row.conditions == conditions]
            for size in sorted({row.size for row in here}, key=_numbers):
                at = {row.way: row for row in here if row.size == size}
                memory = at["training"].memory if "training" in at else None
                cells = [
                    example, conditions, size.replace("x", " × "), *(_times(at.get(way)) for way in WAYS),
                    f"{memory[0]:.3g} → {memory[1]:.3g}" if memory else "",
                ]  # fmt: skip
                yield f"| {' | '.join(cells)} |"


def _times(row: Row | None) -> str:
    if row is None:
        return ""
    change = "no difference" if row.difference == "no difference" else f"{row.ratio:.2f}×"
    return f"{row.before[1]:.3g} → {row.after[1]:.3g} ({change})"


def _numbers(size: str) -> tuple[int, ...]:
    """Sizes are in the order of the scores that attention computes: batch × tokens × tokens."""
    batch, tokens, *width = map(int, size.split("x"))
    return (batch * tokens * tokens, *width)


def _ordered(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def plot(rule: str, rows: list[Row]) -> str:
    """An SVG: one column for each machine, dtype and mode, one row for each way, one line for each example."""
    import matplotlib
    from matplotlib.figure import Figure

    columns = _ordered(row.conditions for row in rows)
    ways = [way for way in WAYS if any(row.way == way for row in rows)]
    colours = {example: f"C{number}" for number, example in enumerate(_ordered(row.example for row in rows))}
    with matplotlib.rc_context({"svg.hashsalt": rule, "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(2.6 * len(columns) + 0.6, 2.2 * len(ways) + 0.5), layout="constrained")
        panels = figure.subplots(len(ways), len(columns), squeeze=False, sharey="row")
        for row_of_panels, way in zip(panels, ways, strict=True):
            for panel, conditions in zip(row_of_panels, columns, strict=True):
                here = [row for row in rows if row.conditions == conditions and row.way == way]
                panel.set_title(f"{conditions}\n{way}", fontsize=7)
                _draw(panel, here, colours)
            _label(row_of_panels[0], [row.ratio for row in rows if row.way == way])
        lines = {line.get_label(): line for panel in panels.flat for line in panel.lines}
        figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=len(columns), fontsize=7)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def _draw(panel: Any, rows: list[Row], colours: dict[str, str]) -> None:
    """The ratios over the sizes; the grey band is *no difference*."""
    sizes = sorted({row.size for row in rows}, key=_numbers)
    panel.axhspan(1 / 1.03, 1.03, color="0.88")
    for example, colour in colours.items():
        points = sorted((sizes.index(row.size), row.ratio) for row in rows if row.example == example)
        if points:
            panel.plot(
                *zip(*points, strict=True),
                "o-",
                markersize=3,
                linewidth=1,
                color=colour,
                label=example.partition(" ")[0],
            )
    panel.set_xticks(range(len(sizes)), sizes, rotation=45, ha="right", fontsize=6)


def _label(panel: Any, ratios: list[float]) -> None:
    """A logarithmic axis with round numbers; panels of one row share it."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    least, most = min([*ratios, 1 / 1.1]), max([*ratios, 1.1])
    round_ones = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0) if most / least > 2 else (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4)
    panel.set_yscale("log")
    panel.set_ylim(least / 1.05, most * 1.05)
    panel.yaxis.set_major_locator(FixedLocator([each for each in round_ones if least / 1.05 <= each <= most * 1.05]))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.yaxis.set_minor_locator(NullLocator())
    panel.set_ylabel("before / after")


def main() -> None:
    files = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(MEASURED.glob("*.json"))}
    PAGE.write_text(page(files), encoding="utf-8")
    rows = [row for findings in files.values() for row in read(findings)]
    for rule in _ordered(row.rule for row in rows):
        (MEASURED / f"{rule}.svg").write_text(plot(rule, [row for row in rows if row.rule == rule]), encoding="utf-8")


if __name__ == "__main__":
    main()
