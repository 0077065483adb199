"""The setup of a class, for classes of the same file that extend it: they inherit what changes, and may rely on it."""

from __future__ import annotations

import contextlib
import itertools
import types
from collections.abc import Iterator

from msgspec.structs import replace

from mha_lint.validation.child.imports import Loaded
from mha_lint.validation.child.stubs import StubTouched
from mha_lint.validation.search.setups import Setup
from mha_lint.validation.search.targets import Target, extending, instantiate, lookup

_AT_MOST = 2


def inheriting(setup: Setup, loaded: Loaded) -> Iterator[Setup]:
    """The setup with a class as its target that overrides a method of its own target, where it can be built alike."""
    if not setup.target.is_class or setup.target.method or setup.target.handed or setup.declared:
        return
    base = lookup(loaded.module, setup.target.name)
    overriding = [name for name, cls in extending(loaded, base) if _overrides(cls, base)]
    for name in itertools.islice(overriding, _AT_MOST):
        other = replace(setup, target=Target(name, True))
        with contextlib.suppress(Exception, StubTouched):  # whatever a constructor raises
            instantiate(other.target, other.plan, loaded.module, seed=0)
            yield other


def _overrides(cls: type, base: type) -> bool:
    """Tell whether the class has a method, other than those that build and run it, in place of one of its base."""
    own = {name for name, value in vars(cls).items() if isinstance(value, types.FunctionType)}
    return any(name in own for name in dir(base) if name not in ("__init__", "forward"))
