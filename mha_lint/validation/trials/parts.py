"""Compare what the parts of a module do in one call: which of them run, and what the changed ones among them return.

A module may be a user of the class that changed: then its result hides in what form that class gave its own. And a part
whose parameters are used without calling it runs no hook, and can't be replaced by another layer.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from msgspec import Struct, field

from mha_lint.validation.trials import trial
from mha_lint.validation.trials.uses import Lasting, apart

Call = Callable[[Any], trial.Seen]


class _Noted(Struct):
    """The parts that were called, by their paths, and the results of the changed classes, in the order of the calls."""

    called: set[str] = field(default_factory=set)
    results: list[trial.Seen] = field(default_factory=list)


def difference(
    before: Any, after: Any, classes: tuple[tuple[type, ...], tuple[type, ...]], call: Call, relation: str
) -> str:
    """In words, how both differ in their parts; "" where they do not. ``call`` calls a module that is lent to it.

    ``classes`` are those of each text that the change lies in.
    """
    noted: list[_Noted] = []
    for module, changed in zip((before, after), classes, strict=True):
        notes = _Noted()
        with _watched(module, tuple(cls for cls in changed if type(module) is not cls), notes):
            seen = call(Lasting(module))
        if seen.error is not None:
            return ""
        noted.append(notes)
    ours, theirs = noted
    if passed_over := sorted(ours.called - theirs.called):
        return f"{passed_over[0]} is called before, and passed over after"
    if len(ours.results) != len(theirs.results):
        return ""
    for one, other in zip(ours.results, theirs.results, strict=True):
        if words := apart(one.outputs, other.outputs) or trial.handed_on(one, other, relation):
            return f"in a result of the class itself, {words}"
    return ""


@contextlib.contextmanager
def _watched(module: Any, classes: tuple[type, ...], notes: _Noted) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for path, part in module.named_modules():
            if (not path or next(part.parameters(recurse=False), None) is not None) and hasattr(part, "forward"):
                handle = part.register_forward_hook(_noting(path or "the module's own hook", notes))
                stack.callback(handle.remove)
        for cls in classes:
            stack.enter_context(_recorded(cls, notes))
        yield


def _noting(path: str, notes: _Noted) -> Callable[..., None]:
    def hook(*_: Any) -> None:
        notes.called.add(path)

    return hook


@contextlib.contextmanager
def _recorded(cls: Any, notes: _Noted) -> Iterator[None]:
    """Keep what objects of the class return, as long as this lasts."""
    name = "forward" if issubclass(cls, torch.nn.Module) else "__call__"
    original = vars(cls).get(name)
    if original is None:
        yield
        return

    @functools.wraps(original)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        notes.results.append(trial.Seen(outputs=trial.flatten(result, "output"), form=trial.form_of(result)))
        return result

    setattr(cls, name, recorded)
    try:
        yield
    finally:
        setattr(cls, name, original)
