"""The findings of a run that are reported: those that no baseline has, on lines that have changed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mha_lint.configuration import Configuration
from mha_lint.files import Source
from mha_lint.findings import SYNTAX_ERROR, Finding

if TYPE_CHECKING:
    from mha_lint.baseline import Baseline, Key
    from mha_lint.changed_lines import ChangedLines


class Scope:
    """Parts the findings of each file into those to report, those of a baseline, and those on unchanged lines.

    It comes after the cache, which holds all findings. A syntax error is always reported.
    """

    def __init__(
        self, configuration: Configuration, changes: ChangedLines | None = None, *, with_baseline: bool = True
    ) -> None:
        self._configuration = configuration
        self._changes = changes
        self._with_baseline = with_baseline
        self._baselines: dict[Path, Baseline] = {}
        self._found: Counter[Key] = Counter()
        self._known = 0
        self._unchanged = 0

    def check(self, folder: Path) -> None:
        """Read what holds for the files of a folder, so that a mistake is told before anything is linted.

        Raises:
            SettingsError: the baseline or the revision can't be read.
        """
        self._baseline(self._configuration.within(folder).baseline_file)
        if self._changes is not None:
            self._changes.check(folder)

    def parted(self, source: Source, findings: Sequence[Finding]) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
        """The findings of a file to report, and those of its baseline. Raises :class:`SettingsError`."""
        baseline = self._of(source.path)
        if baseline is not None:
            self._found.update(baseline.keys(findings))
        reported, known = self._parted(source, source, findings)
        self._known += len(known)
        self._unchanged += len(findings) - len(reported) - len(known)
        return tuple(reported), tuple(known)

    def reported(self, original: Source, now: Source, findings: Sequence[Finding]) -> list[Finding]:
        """The findings to report of a file that fixes have changed since it was read."""
        return self._parted(original, now, findings)[0]

    def _parted(
        self, original: Source, now: Source, findings: Sequence[Finding]
    ) -> tuple[list[Finding], list[Finding]]:
        baseline = self._of(original.path)
        new, known = baseline.split(findings) if baseline is not None else (list(findings), [])
        if self._changes is None or not new:
            return new, known
        changed = self._changes.of(original).moved(original.text, now.text)
        return [each for each in new if each.code == SYNTAX_ERROR or changed.touches(each)], known

    def _of(self, path: Path) -> Baseline | None:
        return self._baseline(self._configuration.of(path).baseline_file)

    def _baseline(self, file: Path | None) -> Baseline | None:
        if file is None or not self._with_baseline:
            return None
        if file not in self._baselines:
            from mha_lint.baseline import read_baseline

            self._baselines[file] = read_baseline(file)
        return self._baselines[file]

    def notes(self, looked_at: Iterable[Path], command: str) -> Iterator[str]:
        """What the summary says of findings that are not reported, and of entries of baselines that are stale.

        ``looked_at`` are the files that could be linted; ``command`` is the one that was run, without options.
        """
        if not self._baselines and self._changes is None:
            return
        from mha_lint.baseline import shown

        files = ", ".join(map(shown, self._baselines))
        if self._known:
            yield f"{_count(self._known, 'finding')} of the baseline {files} {_is(self._known)} not shown."
        if self._unchanged and self._changes is not None:
            where = f"on lines that have not changed since {self._changes.revision}"
            yield f"{_count(self._unchanged, 'finding')} {where} {_is(self._unchanged)} not shown."
        paths = {os.path.abspath(path) for path in looked_at} if self._baselines else set()
        for file, baseline in self._baselines.items():
            gone = sum(self.stale(baseline, paths).values())
            if gone:
                entries = "entry" if gone == 1 else "entries"
                again = command.replace("mha-lint", f"mha-lint --write-baseline {shown(file)}", 1)
                what = f"{gone} {entries} of the baseline {shown(file)}"
                yield f"{what} {_is(gone)} no longer found: `{again}` writes it anew."

    def stale(self, baseline: Baseline, looked_at: set[str]) -> dict[Key, int]:
        """The number of findings of each key that are gone: this run looked for them, or their file is gone."""
        return {
            key: count - self._found[key]
            for key, count in baseline.counts.items()
            if self._found[key] < count and self.covers(baseline, key, looked_at)
        }

    def covers(self, baseline: Baseline, key: Key, looked_at: set[str]) -> bool:
        """Tell whether this run would have found what an entry of a baseline says."""
        path = baseline.absolute(key.path)
        if path in looked_at:
            return key.code in self._configuration.of(Path(path)).enabled(Path(path))
        return not os.path.exists(path)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _is(number: int) -> str:
    return "is" if number == 1 else "are"
