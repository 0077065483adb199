"""Both texts of a job, loaded, and the module built from each with the same weights."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from mha_lint.findings import HALF_PHASE
from mha_lint.validation.child import imports, stubs
from mha_lint.validation.job import Job
from mha_lint.validation.relations import holding
from mha_lint.validation.search import targets
from mha_lint.validation.search.setups import Meaning, Setup, materialise
from mha_lint.validation.trials import construction, interface, process_state, refusals, trial
from mha_lint.validation.trials.arms import Change, change_of
from mha_lint.validation.trials.coverage import Rows, Statement, in_words, statements_at, watch

_SEED = 7  # under which both texts build their modules
_NAMED = 4  # packages


class AfterBroken(Exception):
    """Only the text after cannot be imported."""


class Refuted(Exception):
    """A counterexample, in words."""


class Sources(Struct, frozen=True):
    """The job's two texts as modules.

    ``flagged`` are the statements of before where *repaired* expects the error, and that *corrected* wants to run;
    ``ran_before`` and ``ran_after`` the changed ones, and ``ran_flagged`` the flagged, that importing alone ran.
    """

    job: Job
    flagged: frozenset[Statement]
    before: imports.Loaded
    after: imports.Loaded
    changed_before: frozenset[Statement]
    changed_after: frozenset[Statement]
    ran_before: frozenset[Statement]
    ran_after: frozenset[Statement]
    ran_flagged: frozenset[Statement]
    given_up: frozenset[tuple[str, str]]  # attributes, each of a class, that only before has a use for
    kept: tuple[Mapping[str, Any], Mapping[str, Any]]  # what each text kept once it was imported

    @property
    def wanted(self) -> frozenset[Statement]:
        """All that is to be reached in before, but for what importing alone ran.

        The rows of a part are wanted as well: other inputs than those of the search may reach the part from there.
        """
        changed = self.changed_before - self.ran_before
        rows = frozenset(Statement(item.first, item.last) for item in changed if item.words)
        return changed | rows | (self.flagged - self.ran_flagged)

    def missed(self, ran_before: Collection[Statement], ran_after: Collection[Statement]) -> str:
        """In words, what did not run of a text of which nothing ran that changed; "" where there is no such text."""
        for text, changed, covered in (
            ("before", self.changed_before, ran_before),
            ("after", self.changed_after, ran_after),
        ):
            if changed and not covered:
                return f"in the text {text}, {in_words(changed)} never ran"
        return ""


def load_alone(path: str, text: str) -> imports.Loaded:
    """Import one text as the module at ``path``. Raise CannotLoad where it cannot be imported."""
    place = imports.place_of(path)
    failure: imports.CannotLoad | None = None
    absent: set[str] = set()
    for way in imports.ways(place):
        try:
            imports.prepare(place, way)
            return imports.load(place, "before", text)
        except stubs.StubTouched as error:
            failure = failure or imports.CannotLoad(f"importing the file needs more than a stand-in: {error}")
        except imports.CannotLoad as error:
            failure = failure or error
        except Exception as error:
            failure = failure or imports.CannotLoad(f"importing its package raised {imports.in_one_line(error)}")
        absent |= stubs.standing_in()
        imports.forget(place)
    raise _with_what_is_absent(failure, absent)


def _with_what_is_absent(failure: imports.CannotLoad | None, absent: set[str]) -> imports.CannotLoad:
    """The failure, with the packages that are not installed, which may well be its cause."""
    assert failure is not None
    if not absent or "not installed" in str(failure):
        return failure
    names = sorted(absent)
    further = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return imports.CannotLoad(f"{failure}; not installed: {', '.join(names[:_NAMED])}{further}")


def load_sources(job: Job) -> Sources:
    """Import both texts. Raise CannotLoad where before cannot be imported, AfterBroken where after alone cannot."""
    place = imports.place_of(job.path)
    failure: imports.CannotLoad | None = None
    absent: set[str] = set()
    change = _change_of(job)
    for way in imports.ways(place):
        try:
            with contextlib.ExitStack() as stack:
                rows = stack.enter_context(watch(f"{place.path}#before", f"{place.path}#after"))
                left = process_state.Left(), process_state.Left()
                try:
                    imports.prepare(place, way)
                    usual = process_state.settings()
                    with process_state.observed(left[0], usual):
                        before = imports.load(place, "before", job.before, change.marked_before)
                except stubs.StubTouched as error:
                    raise imports.CannotLoad(f"importing the file needs more than a stand-in: {error}") from error
                except imports.CannotLoad:
                    raise
                except Exception as error:
                    raise imports.CannotLoad(f"importing its package raised {imports.in_one_line(error)}") from error
                try:
                    with process_state.observed(left[1], usual):
                        after = imports.load(place, "after", job.after, change.marked_after)
                except (imports.CannotLoad, stubs.StubTouched) as error:
                    imports.load(place, "before", job.before)  # some files cannot be imported twice: CannotLoad then
                    raise AfterBroken(str(error)) from error
                if after.left and not before.left:
                    raise AfterBroken(f"importing the text after ends at line {after.left} with SystemExit")
                if words := _leaves_otherwise(place, job, left, usual):
                    raise AfterBroken(f"once the text is imported, {words}")
            flagged: frozenset[Statement] = frozenset()
            if job.relation in ("repaired", "corrected"):
                flagged = statements_at(job.before, set(job.flagged))
            return Sources(
                job,
                flagged,
                before,
                after,
                change.before,
                change.after,
                ran(change.before, rows, before),
                ran(change.after, rows, after),
                ran(flagged, rows, before),
                construction.given_up(before.tree, after.tree),
                (interface.kept(before.module), interface.kept(after.module)),
            )
        except imports.CannotLoad as error:
            failure = failure or error
            absent |= stubs.standing_in()
            imports.forget(place)
    raise _with_what_is_absent(failure, absent)


def _leaves_otherwise(
    place: imports.Place, job: Job, left: tuple[process_state.Left, process_state.Left], usual: process_state.Settings
) -> str:
    """Describe how importing the texts leaves the process otherwise. Return "" where it does not.

    What the files that they import do to it is done once: where both differ, before is imported again.
    """
    if not process_state.left_otherwise(*left):
        return ""
    again = process_state.Left()
    with process_state.observed(again, usual):
        imports.load(place, "before", job.before)
    return process_state.left_otherwise(again, left[1])


def _change_of(job: Job) -> Change:
    """The changed arms; none where a text does not parse, which loading it will tell."""
    try:
        return change_of(job.before, job.after)
    except (SyntaxError, ValueError):
        return Change(frozenset(), frozenset(), None, None)


def ran(statements: frozenset[Statement], rows: Rows, loaded: imports.Loaded) -> frozenset[Statement]:
    """The statements of a text that ran while ``rows`` were watched."""
    return frozenset(statement for statement in statements if statement.ran(rows.of(loaded.pseudo)))


class Pair(Struct, frozen=True):
    """The module of both texts, built alike, with the same weights. ``gained`` are the names only after has."""

    before: Any
    after: Any
    gained: frozenset[str]
    new: frozenset[str]  # those, and the buffers outside of the state_dict that only after has
    applied: frozenset[str]  # names at the identity in both, which only after uses
    ran_before: frozenset[Statement]  # changed statements that building and importing ran
    ran_after: frozenset[Statement]
    ran_flagged: frozenset[Statement]
    moved: bool  # what after gained did not start at the identity
    signature: inspect.Signature  # of calls of before

    @property
    def positional(self) -> tuple[str, ...]:
        """The arguments that can be given by their place alone."""
        return trial.positional_only(self.signature)


def build_pair(sources: Sources, setup: Setup, meaning: Meaning, tell: Callable[[str], None]) -> Pair:
    """Build the target from both texts. Raise Refuted where only after fails, or gains what nobody announced."""
    without = sources.given_up
    with watch(sources.before.pseudo, sources.after.pseudo) as rows:
        left = process_state.Left(), process_state.Left()
        usual = process_state.settings()
        given: tuple[dict[str, Any], dict[str, Any]] = {}, {}
        with process_state.observed(left[0], usual), _building(sources, meaning):
            before = targets.instantiate(setup.target, setup.plan, sources.before.module, seed=_SEED, given=given[0])
        ours = construction.inventory(before, without)
        materialise(before, setup, meaning)
        tell(f"after: building {setup.target}")
        try:
            with process_state.observed(left[1], usual):
                after = targets.instantiate(setup.target, setup.plan, sources.after.module, seed=_SEED, given=given[1])
            theirs = construction.inventory(after)
            materialise(after, setup, contextlib.nullcontext)
        except (Exception, stubs.StubTouched) as error:
            raise Refuted(f"building {setup.describe()} raised only after: {imports.in_one_line(error)}") from error
    gained, applied = _announced(sources, before, after)
    built_before = ran(sources.changed_before, rows, sources.before)
    built_after = ran(sources.changed_after, rows, sources.after)
    _check_construction(sources, setup, (ours, theirs), gained, meaning, is_announced=bool(built_before | built_after))
    own = sources.before.module.__name__, sources.after.module.__name__
    why = (
        construction.changed_form(before, after, own, without, keeps_names=sources.job.relation == "equivalent")
        or _changed_interface(sources, before, after)
        or process_state.left_otherwise(*left)
        or construction.changed_arguments(*given)
    )
    if not why and built_before | built_after:
        why = refusals.wrong_sizes(setup, sources.before, sources.after)
    if why:
        raise Refuted(f"{why} ({setup.describe()})")
    trial.randomise(before, seed=11)
    outcome = after.load_state_dict(before.state_dict(), strict=not gained)
    if gained and (set(outcome.missing_keys) != gained or outcome.unexpected_keys):
        raise Refuted(f"an old checkpoint misses {sorted(outcome.missing_keys)}, expected {sorted(gained)}")
    holding.put_at_identity(before, applied)
    holding.put_at_identity(after, applied)
    moved = not holding.put_at_identity(after, gained)
    return Pair(
        before,
        after,
        gained,
        gained | _unsaved(after) - _unsaved(before),
        applied,
        sources.ran_before | built_before,
        sources.ran_after | built_after,
        sources.ran_flagged | ran(sources.flagged, rows, sources.before),
        moved,
        targets.signature_of(before),
    )


def _building(sources: Sources, meaning: Meaning) -> Any:
    """The context in which before is built: as it means, where its constructor may round what it counts."""
    return meaning() if sources.job.expected == HALF_PHASE else contextlib.nullcontext()


def _changed_interface(sources: Sources, before: Any, after: Any) -> str:
    """Describe how what needs no call differs. Corrections and repairs are exempt: they may change a constant."""
    if sources.job.relation not in ("equivalent", "extended"):
        return ""
    own = sources.before.module.__name__, sources.after.module.__name__
    return interface.changed(sources.before.module, sources.after.module) or interface.changed_parts(before, after, own)


def _check_construction(
    sources: Sources,
    setup: Setup,
    built: tuple[construction.Constructed, construction.Constructed],
    gained: frozenset[str],
    meaning: Meaning,
    *,
    is_announced: bool,
) -> None:
    """Raise Refuted where both constructors, under one seed, leave other values, modes, hooks or random states.

    With ``is_announced``, a changed line ran while they did: then a correction, and a repair of a value, may mean to
    change what they compute, but neither the parameters nor the random numbers. What is not the same either when a text
    builds it once more, such as a count of all instances, is no difference.
    """

    def make(loaded: imports.Loaded, seed: int = _SEED) -> Any:
        with _building(sources, meaning) if loaded is sources.before else contextlib.nullcontext():
            return targets.instantiate(setup.target, setup.plan, loaded.module, seed=seed)

    ours, theirs = built
    without = sources.given_up
    unlike: set[str] = set()
    if gained:
        theirs, is_told = construction.built_without_draws(lambda: make(sources.after), gained)
        if not is_told:  # what was drawn at random may come after what the new parameters drew
            other = construction.inventory(make(sources.before, _SEED + 1))
            drawn, _ = construction.built_without_draws(lambda: make(sources.after, _SEED + 1), gained)
            at_random = construction.differences(ours, other, frozenset()).keys()
            unlike |= at_random & construction.differences(theirs, drawn, gained).keys()
    job = sources.job
    if is_announced and (job.relation == "corrected" or job.expected == "half overflow"):
        ours = replace(ours, saved={}, held={})
    found = construction.differences(ours, theirs, gained)
    if not found.keys() - unlike:
        return
    again = construction.inventory(make(sources.before), without)
    once_more, _ = construction.built_without_draws(lambda: make(sources.after), gained)
    unlike |= construction.differences(ours, again, frozenset()).keys()
    lasting = construction.differences(again, once_more, gained).keys()
    for key, words in found.items():
        if key in lasting and key not in unlike:
            raise Refuted(f"{words} ({setup.describe()})")


def _unsaved(module: Any) -> frozenset[str]:
    """The buffers that are no part of the ``state_dict``."""
    return frozenset(name for name, _ in module.named_buffers()) - frozenset(module.state_dict())


def owners_of(sources: Sources) -> frozenset[str]:
    """The classes that the edits lie in, by their qualified names."""
    return frozenset(targets.owner_of(sources.before.module, symbol) or symbol for symbol in sources.job.symbols)


def _announced(sources: Sources, before: Any, after: Any) -> tuple[frozenset[str], frozenset[str]]:
    """Compare the ``state_dict`` of both; what after has more must be exactly what was announced.

    The names gained, and those that only after applies.
    """
    old, new = before.state_dict(), after.state_dict()
    announced: frozenset[str] = frozenset()
    applied: frozenset[str] = frozenset()
    if sources.job.relation == "extended":
        owners = owners_of(sources)
        announced = holding.names_within(after, owners, sources.job.added)
        applied = holding.names_within(after, owners, sources.job.identity)
        if applied - set(new):
            raise Refuted(f"there is no {', '.join(sorted(applied - set(new)))} to apply")
        if not announced and not applied:
            raise Refuted("the rewrite announced no new parameters, or none of the classes that gain them was built")
    if set(new) - set(old) != announced or set(old) - set(new):
        changed = sorted(set(new) ^ set(old) ^ announced)
        raise Refuted(f"the state_dict changes in {', '.join(changed)}")
    for name, value in old.items():
        if getattr(value, "shape", None) != getattr(new[name], "shape", None):
            raise Refuted(f"the state_dict entry {name} changes shape")
        if getattr(value, "dtype", None) != getattr(new[name], "dtype", None):
            raise Refuted(f"the state_dict entry {name} changes dtype")
    return announced, applied
