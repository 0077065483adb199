"""The choices that hold for a file: which rules run, which fixes may be tried, and how they are written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

from mha_lint.declared import Declared
from mha_lint.files import DEFAULT_EXCLUDE, matches
from mha_lint.findings import Applicability, Severity

ViewFix = Literal["contiguous", "reshape"]
QkvSplit = Literal["auto", "index"]
OutProjInit = Literal["identity", "default"]
Also = Literal["compile", "export"]


class SettingsError(Exception):
    """A choice that can't be followed: a setting that makes no sense, or a rule that can't be imported.

    The message names the file and the key, or the package, and what to do instead.
    """


@dataclass(frozen=True)
class Settings:
    """Every choice that can change a finding, a fix or the exit status. Codes may be prefixes (``MHA0``) or ``ALL``.

    ``select`` of None means the rules that are on by default. Globs are relative to ``root``, the folder of the
    ``file`` that the settings were read from, or the working directory.
    """

    select: tuple[str, ...] | None = None
    extend_select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    exclude: tuple[str, ...] = DEFAULT_EXCLUDE
    extend_exclude: tuple[str, ...] = ()
    per_file_ignores: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    view_fix: ViewFix = "contiguous"
    qkv_split: QkvSplit = "auto"
    out_proj_init: OutProjInit = "identity"
    fixable: tuple[str, ...] = ("ALL",)
    extend_fixable: tuple[str, ...] = ()
    unfixable: tuple[str, ...] = ()
    extend_safe_fixes: tuple[str, ...] = ()
    extend_unsafe_fixes: tuple[str, ...] = ()
    unsafe_fixes: bool = False
    exit_severity: Severity = "info"  # the least severity of a remaining finding that makes a run fail
    also: tuple[Also, ...] = ()  # what a fix must not break
    follow_imports: bool = True  # the names that other files of the project define are known
    harness: tuple[Declared, ...] = ()
    baseline: str = field(default="", repr=False)  # decides what is reported, never what is found, nor cached
    root: Path = field(default_factory=Path.cwd)
    file: Path | None = None

    def enabled(self, path: Path) -> frozenset[str]:
        """The codes of the rules to run on ``path``.

        The longest matching prefix decides, as in ruff: ``select = ["MHA0"], ignore = ["MHA003"]`` leaves out
        MHA003, ``select = ["MHA003"], ignore = ["MHA0"]`` runs MHA003 alone. Per-file ignores always win.
        """
        chosen = _enabled(self.select, self.extend_select, self.ignore)
        for pattern, prefixes in self.per_file_ignores.items():
            if matches(Path(os.path.abspath(path)), (pattern,), self.root):
                chosen = frozenset(code for code in chosen if _strength(code, prefixes) < 0)
        return chosen

    @cached_property
    def told(self) -> str:
        """All of the settings as one text, to tell them from others; made once, since each file asks for it."""
        return repr(self)

    @property
    def baseline_file(self) -> Path | None:
        """The file of findings that are known already."""
        return self.root / self.baseline if self.baseline else None

    def may_fix(self, code: str) -> bool:
        """Tell whether a rule's fixes may be tried: the longest matching prefix decides, as in :meth:`enabled`."""
        return _strength(code, (*self.fixable, *self.extend_fixable)) > _strength(code, self.unfixable)

    def applicability(self, code: str, declared: Applicability) -> Applicability:
        """The settings decide how safe a rule's fixes are; where they say nothing, the fixer has ``declared`` it.

        The longest matching prefix decides; of two that are as long, the one in ``extend-unsafe-fixes``, as in ruff.
        """
        safe = _strength(code, self.extend_safe_fixes)
        unsafe = _strength(code, self.extend_unsafe_fixes)
        if safe < 0 and unsafe < 0:
            return declared
        return "safe" if safe > unsafe else "unsafe"

    @property
    def source_roots(self) -> tuple[Path, ...]:
        """The folders in which the packages of the project lie, as in ruff: the root, and its ``src``."""
        return (self.root, self.root / "src")

    @property
    def excluded(self) -> tuple[str, ...]:
        """The globs of files and folders that a walk passes by."""
        return (*self.exclude, *self.extend_exclude)

    def with_selection(
        self, select: tuple[str, ...] | None, extend_select: tuple[str, ...], ignore: tuple[str, ...]
    ) -> Settings:
        """These settings under the command line's selection, which is the stronger.

        ``--select`` puts the file's whole selection aside; the other two add to it. All three are codes, as
        :func:`resolved` gives them.
        """
        if select is not None:
            return replace(self, select=select, extend_select=extend_select, ignore=ignore)
        kept = tuple(code for code in self.ignore if code not in extend_select)
        return replace(self, extend_select=(*self.extend_select, *extend_select), ignore=(*kept, *ignore))


def _strength(code: str, prefixes: Iterable[str]) -> int:
    """Length of the longest of ``prefixes`` that ``code`` starts with; 0 for ALL; -1 for none."""
    return max((0 if p == "ALL" else len(p) for p in prefixes if p == "ALL" or code.startswith(p)), default=-1)


@lru_cache(maxsize=256)
def _enabled(select: tuple[str, ...] | None, extend: tuple[str, ...], ignore: tuple[str, ...]) -> frozenset[str]:
    from mha_lint.rules import codes

    chosen = set()
    for code in codes():
        base = _default_strength(code) if select is None else _strength(code, select)
        if max(base, _strength(code, extend)) > _strength(code, ignore):
            chosen.add(code)
    return frozenset(chosen)


def _default_strength(code: str) -> int:
    """The strength of a rule where nothing is selected: that of ALL if it runs by default. It is imported for this."""
    from mha_lint.rules import rule_of

    return 0 if rule_of(code).default else -1


def resolved(selectors: Iterable[str], place: str) -> tuple[str, ...]:
    """Rule codes, prefixes of codes and names of rules, as codes and prefixes.

    Raises:
        SettingsError: one of them is none of these; the message begins with ``place``.
    """
    return tuple(_resolved(selector, place) for selector in selectors)


def _resolved(selector: str, place: str) -> str:
    from mha_lint.rules import codes

    code = selector.upper()
    if code == "ALL" or (code and any(known.startswith(code) for known in codes())):
        return code
    names = _names() if "-" in selector else {}  # importing the rules for a mistake in a code would be slow
    if selector.lower() in names:
        return names[selector.lower()]
    if names:
        raise SettingsError(f"{place}: unknown rule {selector!r}{close_match(selector.lower(), names)}")
    raise SettingsError(f"{place}: unknown rule code {selector!r}{close_match(code, codes())}")


@lru_cache(maxsize=1)
def _names() -> dict[str, str]:
    """The code of each installed rule, by the rule's name."""
    from mha_lint.rules import all_rules

    return {rule.name: rule.code for rule in all_rules()}


def close_match(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'X'?`` when a known word is near, else what can be chosen from."""
    known = tuple(known)
    near = _nearest(word, known)
    return f"; did you mean {near!r}?" if near is not None else f"; known: {', '.join(known)}"


def _nearest(word: str, known: tuple[str, ...]) -> str | None:
    """The known word that is most like another one; of those that are as alike, it has the most letters in place."""
    from difflib import SequenceMatcher

    matcher = SequenceMatcher(b=word)
    best = None
    best_likeness = (0.5, 0)  # less than half of it in common is no likeness
    for each in known:
        matcher.set_seq1(each)
        in_place = sum(one == other for one, other in zip(each, word, strict=False))
        likeness = (matcher.ratio(), in_place)
        if likeness >= best_likeness:
            best, best_likeness = each, likeness
    return best
