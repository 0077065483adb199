"""The choices that hold for a file: which rules run, which fixes may be tried, and how they are written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

from msgspec import Struct, field
from msgspec.structs import asdict, replace

from mha_lint.comparing import compared_without
from mha_lint.declared import Declared
from mha_lint.files import DEFAULT_EXCLUDE, matches
from mha_lint.findings import Applicability, Severity

ViewFix = Literal["contiguous", "reshape"]
QkvSplit = Literal["auto", "index"]
OutProjInit = Literal["identity", "default"]
Also = Literal["compile", "export"]
OutputFormat = Literal["full", "concise", "json", "github", "gitlab", "junit", "markdown", "rdjson", "sarif"]
TargetVersion = Literal["py37", "py38", "py39", "py310", "py311", "py312", "py313", "py314", "py315"]


class SettingsError(Exception):
    """A choice that can't be followed: a setting that makes no sense, or a rule that can't be imported.

    The message names the file and the key, or the package, and what to do instead.
    """


class Selection(Struct, frozen=True):
    """What one settings file, or the command line, says of rules. Codes may be prefixes (``MHA0``) or ``ALL``."""

    select: tuple[str, ...] | None = None
    extend_select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fixable: tuple[str, ...] | None = None
    extend_fixable: tuple[str, ...] = ()
    unfixable: tuple[str, ...] = ()


class Meaning(Struct, frozen=True):
    """What a key of the settings file means, in one line of Markdown for the page and the schema.

    ``default_text`` stands on the page where the default is not the value itself.
    """

    text: str
    default_text: str = ""


class Key(Struct, frozen=True):
    """A key of the settings file: the attribute of :class:`Settings` that it sets, its type and its default."""

    attribute: str
    kind: Any
    default: object
    meaning: Meaning


@compared_without("origins")
class Settings(Struct, frozen=True, dict=True):
    """Every choice that holds for a file. Codes may be prefixes (``MHA0``) or ``ALL``.

    ``select`` of None means the rules that are on by default, ``fixable`` of None all rules. Globs are relative to
    ``root``, the folder of the ``file`` that the settings were read from, or the working directory. ``under`` is what
    weaker files say of rules, the weakest first. ``origins`` says where each key that is not a default comes from.
    """

    extend: Annotated[str | None, Meaning("another settings file, whose keys hold where this one has none")] = None
    select: Annotated[tuple[str, ...] | None, Meaning("the rules to run", "the rules that are on by default")] = None
    extend_select: Annotated[tuple[str, ...], Meaning("rules to run as well")] = ()
    ignore: Annotated[tuple[str, ...], Meaning("rules to leave out")] = ()
    per_file_ignores: Annotated[
        Mapping[str, tuple[str, ...]],
        Meaning(
            "a table from globs to rules that are left out there; a glob that begins with `!` is for all other files"
        ),
    ] = field(default_factory=dict)
    extend_per_file_ignores: Annotated[Mapping[str, tuple[str, ...]], Meaning("more of them")] = field(
        default_factory=dict
    )
    exclude: Annotated[
        tuple[str, ...],
        Meaning(
            "globs of files and folders that a walk passes by; **replaces** the default",
            "`.git`, `.venv`, `build`, `dist`, …",
        ),
    ] = DEFAULT_EXCLUDE
    extend_exclude: Annotated[tuple[str, ...], Meaning("more of them; use this one to add a folder")] = ()
    force_exclude: Annotated[bool, Meaning("`true` excludes what is given by name as well")] = False
    respect_gitignore: Annotated[bool, Meaning("whether a walk passes by what a `.gitignore` names")] = True
    fix: Annotated[bool, Meaning("`true` is `--fix` on every run, which executes code")] = False
    unsafe_fixes: Annotated[bool, Meaning("`true` is `--unsafe-fixes` on every run")] = False
    fixable: Annotated[tuple[str, ...] | None, Meaning("the rules whose fixes may be tried", '`["ALL"]`')] = None
    extend_fixable: Annotated[tuple[str, ...], Meaning("more of them")] = ()
    unfixable: Annotated[tuple[str, ...], Meaning("rules whose fixes are never tried")] = ()
    extend_safe_fixes: Annotated[
        tuple[str, ...], Meaning("rules whose *unsafe* fixes `--fix` tries without `--unsafe-fixes`")
    ] = ()
    extend_unsafe_fixes: Annotated[tuple[str, ...], Meaning("rules whose *safe* fixes need `--unsafe-fixes`")] = ()
    show_fixes: Annotated[bool, Meaning("`true` lists, at the end of a run, what was fixed in which file")] = False
    target_version: Annotated[
        TargetVersion | None,
        Meaning(
            "the oldest Python that the code runs on; a fix that needs a newer one is withheld",
            "from `requires-python`",
        ),
    ] = None
    target_torch: Annotated[
        str | None,
        Meaning(
            'the oldest torch that the code runs on, as `"2.1"`; a fix that needs a newer one is withheld',
            "from the dependency on torch",
        ),
    ] = None
    view_fix: Annotated[ViewFix, Meaning("how MHA001 is fixed")] = "contiguous"
    qkv_split: Annotated[QkvSplit, Meaning("how MHA002 is fixed")] = "auto"
    out_proj_init: Annotated[OutProjInit, Meaning("how the projection that MHA003 adds begins")] = "identity"
    also: Annotated[tuple[Also, ...], Meaning("what a fix must not break")] = ()
    harness: Annotated[
        tuple[Declared, ...], Meaning("[how a class is built and called](validation.md#declaring-a-harness)", "`{}`")
    ] = ()
    follow_imports: Annotated[
        bool,
        Meaning(
            "whether names that other files of the project define are followed there; "
            "packages of third parties never are"
        ),
    ] = True
    exit_severity: Annotated[Severity, Meaning("the least severity that makes a run fail")] = "info"
    output_format: Annotated[OutputFormat, Meaning("how to report")] = "full"
    required_version: Annotated[
        str | None,
        Meaning(
            'the versions of mha-lint that may run here, as `">=0.1,<1"` (PEP 440); another one ends with status 2'
        ),
    ] = None
    cache_dir: Annotated[
        str | None, Meaning("the folder in which `.mha_lint_cache` lies", "that of the settings file")
    ] = None
    baseline: Annotated[
        str | None, Meaning("a file of findings that are known and [not reported](adoption.md#a-baseline)")
    ] = None
    root: Path = field(default_factory=Path.cwd)
    file: Path | None = None
    under: tuple[Selection, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)

    def enabled(self, path: Path) -> frozenset[str]:
        """The codes of the rules to run on ``path``.

        The longest matching prefix decides, as in ruff: ``select = ["MHA0"], ignore = ["MHA003"]`` leaves out
        MHA003, ``select = ["MHA003"], ignore = ["MHA0"]`` runs MHA003 alone. A stronger file decides over a weaker one,
        however long its prefixes. Per-file ignores always win.
        """
        chosen = _enabled(self.selections)
        for pattern, prefixes in (*self.per_file_ignores.items(), *self.extend_per_file_ignores.items()):
            glob = pattern.removeprefix("!")
            if matches(Path(os.path.abspath(path)), (glob,), self.root) == (glob == pattern):
                chosen = frozenset(code for code in chosen if _strength(code, prefixes) < 0)
        return chosen

    @property
    def selections(self) -> tuple[Selection, ...]:
        """What is said of rules, the weakest first."""
        own = Selection(self.select, self.extend_select, self.ignore, self.fixable, self.extend_fixable, self.unfixable)
        return (*self.under, own)

    @cached_property
    def told(self) -> str:
        """What changes a finding or a fix, as one text to tell settings by; made once, since each file asks for it."""
        return repr([getattr(self, name) for name in self.__struct_fields__ if name not in _UNTOLD])

    @property
    def baseline_file(self) -> Path | None:
        """The file of findings that are known already."""
        return Path(self.baseline) if self.baseline else None

    def may_fix(self, code: str) -> bool:
        """Tell whether a rule's fixes may be tried: the longest matching prefix decides, as in :meth:`enabled`."""
        may = True
        for each in self.selections:
            may = _decided(code, may, each.fixable, each.extend_fixable, each.unfixable)
        return may

    def applicability(self, code: str, declared: Applicability) -> Applicability:
        """The settings decide how safe a rule's fixes are; where they say nothing, the fixer has ``declared`` it.

        The longest matching prefix decides; of two that are as long, the one in ``extend-unsafe-fixes``, as in ruff.
        """
        safe = _strength(code, self.extend_safe_fixes)
        unsafe = _strength(code, self.extend_unsafe_fixes)
        if safe < 0 and unsafe < 0:
            return declared
        return "safe" if safe > unsafe else "unsafe"

    def lacks(self, needs_torch: tuple[int, int], needs_python: tuple[int, int]) -> str:
        """Say which version a fix needs that is newer than a target; "" where none is."""
        needs = (
            ("torch", needs_torch, "target-torch", self.oldest_torch),
            ("Python", needs_python, "target-version", self.oldest_python),
        )
        for what, needed, key, target in needs:
            if target is not None and needed > target:
                return f"needs {what} {needed[0]}.{needed[1]}; {key} is {target[0]}.{target[1]}"
        return ""

    @property
    def source_roots(self) -> tuple[Path, ...]:
        """The folders in which the packages of the project lie, as in ruff: the root, and its ``src``."""
        return (self.root, self.root / "src")

    @property
    def excluded(self) -> tuple[str, ...]:
        """The globs of files and folders that a walk passes by."""
        return (*self.exclude, *self.extend_exclude)

    @property
    def oldest_torch(self) -> tuple[int, int] | None:
        """``target-torch`` as numbers."""
        if self.target_torch is None:
            return None
        major, _, minor = self.target_torch.partition(".")
        return int(major), int(minor)

    @property
    def oldest_python(self) -> tuple[int, int] | None:
        """``target-version`` as numbers."""
        return None if self.target_version is None else (3, int(self.target_version.removeprefix("py3")))

    def with_selection(
        self, select: tuple[str, ...] | None, extend_select: tuple[str, ...], ignore: tuple[str, ...]
    ) -> Settings:
        """These settings under a stronger selection, of codes as :func:`resolved` gives them."""
        return self.under_selection(Selection(select, extend_select, ignore))

    def under_selection(self, stronger: Selection) -> Settings:
        """These settings under a stronger selection: its ``select`` puts the rest aside, all else adds to it."""
        return replace(self, under=self.selections, **asdict(stronger))


_UNTOLD = frozenset(
    ("extend", "force_exclude", "respect_gitignore", "fix", "show_fixes", "output_format", "required_version",
     "cache_dir", "baseline", "origins")
)  # fmt: skip


@lru_cache(maxsize=1)
def keys() -> dict[str, Key]:
    """Each key that a settings file may hold, in the order of the page."""
    found = {}
    defaults = asdict(Settings())
    for name, hint in get_type_hints(Settings, include_extras=True).items():
        kind, *told = get_args(hint) or (hint,)
        if told and isinstance(told[0], Meaning):
            found[name.replace("_", "-")] = Key(name, kind, defaults[name], told[0])
    return found


def _strength(code: str, prefixes: Iterable[str]) -> int:
    """Length of the longest of ``prefixes`` that ``code`` starts with; 0 for ALL; -1 for none."""
    return max((0 if p == "ALL" else len(p) for p in prefixes if p == "ALL" or code.startswith(p)), default=-1)


def _decided(
    code: str, before: bool, chosen: tuple[str, ...] | None, extend: tuple[str, ...], left_out: tuple[str, ...]
) -> bool:
    """Tell whether a rule is chosen by one more layer, over what the layers before it decided."""
    wanted = max(_strength(code, chosen or ()), _strength(code, extend))
    unwanted = _strength(code, left_out)
    if wanted > unwanted:
        return True
    return before and chosen is None and unwanted < 0


@lru_cache(maxsize=256)
def _enabled(selections: tuple[Selection, ...]) -> frozenset[str]:
    from mha_lint.rules import codes

    is_asked = all(each.select is None for each in selections)  # else no rule need be imported for its default
    chosen = set()
    for code in codes():
        enabled = is_asked and _is_on(code)
        for each in selections:
            enabled = _decided(code, enabled, each.select, each.extend_select, each.ignore)
        if enabled:
            chosen.add(code)
    return frozenset(chosen)


def _is_on(code: str) -> bool:
    """Tell whether a rule runs where nothing is selected. It is imported for this."""
    from mha_lint.rules import rule_of

    return rule_of(code).default


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
