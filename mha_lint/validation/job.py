"""The questions that validation is asked, and its answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, field

from mha_lint.declared import Declared
from mha_lint.findings import Axes, Expected, Relation
from mha_lint.observation import Observation

Question = Literal[Relation, "wrong"]


class TorchMissing(Exception):
    """torch cannot be run by this interpreter; the message is one line and says what is needed."""


class DeviceMissing(Exception):
    """A device that was named is not there; the message names it."""


class ClusterMissing(Exception):
    """A cluster that was asked for cannot execute anything; the message is one line and says why."""


class Job(Struct, frozen=True):
    """One candidate rewrite of one file, and the relation that it claims.

    The relation "wrong" claims of ``before`` alone, which ``after`` repeats, that it violates one of the ``probes``, or
    that it raises, or ends the graph of ``torch.compile``, at the ``flagged`` rows.

    ``symbols`` say where the edits lie ("Class.method", "function", "Outer.Inner.method"). ``flagged`` are rows of
    ``before`` where, for *repaired*, the ``expected`` error is raised, and which have to run for *corrected*. ``added``
    are the ``state_dict`` names, relative to the class, that it gains under *extended*. ``identity`` are names that it
    has already and that trials put at the identity in both texts, as they put the gained ones after: a matrix at
    ``eye``, a bias at zero. ``hints`` give symbolic shapes of forward's parameters, such as ``{"x": ("b", "t",
    "self.embed_dim")}``; None stands for an unknown size, and a parameter that is a number has one dim. ``declared``
    are the user's harnesses for the file. ``also`` names what must go on working where it does before: "compile",
    "export". Under *corrected*, ``before`` violates one of the ``probes``, and in the regime ``agree`` ("train",
    "one token", "one token of all heads", "no dropout"; "" for none) both texts compute the same. ``axes`` tell the
    probes which dimensions of forward's parameters are the batch and the tokens.
    """

    path: str
    before: str
    after: str
    symbols: tuple[str, ...]
    relation: Question
    flagged: tuple[int, ...] = ()
    added: tuple[str, ...] = ()
    identity: tuple[str, ...] = ()
    hints: Mapping[str, tuple[str | int | None, ...]] = field(default_factory=dict)
    declared: tuple[Declared, ...] = ()
    also: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()
    axes: tuple[Axes, ...] = ()
    agree: str = ""
    expected: Expected = "view"


class Reaching(Struct, frozen=True):
    """The question whether the code at ``symbols`` ("Class.method") can be run, forward and backward, as it is."""

    path: str
    text: str
    symbols: tuple[str, ...]
    hints: Mapping[str, tuple[str | int | None, ...]] = field(default_factory=dict)


class Reached(Struct, frozen=True):
    """The answer: ``level`` is "module", "subclass", "user" or "function" where it ran, and "" where it did not.

    ``how`` is the call that did it, ``reason`` what stopped the attempt that got furthest.
    """

    level: str
    how: str = ""
    reason: str = ""


class Probing(Struct, frozen=True):
    """The question which properties of attention the class or function ``target`` of a file has, as it is.

    ``symbols`` are its methods ("Class.method"), or the function; ``hints`` and ``declared`` as for a :class:`Job`.
    """

    path: str
    text: str
    target: str
    symbols: tuple[str, ...]
    hints: Mapping[str, tuple[str | int | None, ...]] = field(default_factory=dict)
    declared: tuple[Declared, ...] = ()


class Probed(Struct, frozen=True):
    """The answer: what was seen on each device, by its kind. ``reason`` says why nothing was, with a harness ``stub``.

    ``how`` is the call that was made, ``shapes`` its inputs, ``level`` which way to run it served.
    """

    observations: Mapping[str, tuple[Observation, ...]] = field(default_factory=dict)
    how: str = ""
    shapes: tuple[str, ...] = ()
    level: str = ""
    reason: str = ""
    stub: str = ""


class Environment(Struct, frozen=True):
    """Where trials run: ``devices`` maps "cpu" and "cuda" to the hardware's name."""

    python: str
    torch_version: str
    devices: dict[str, str]
