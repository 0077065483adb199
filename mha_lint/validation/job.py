"""What is asked of validation, and how question and answer travel between processes as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mha_lint.declared import Declared
from mha_lint.findings import Expected, Relation, Trial, Verdict
from mha_lint.observation import Observation


class TorchMissing(Exception):
    """torch cannot be run by this interpreter; the message is one line and says what is needed."""


class DeviceMissing(Exception):
    """A device that was named is not there; the message names it."""


@dataclass(frozen=True, slots=True)
class Job:
    """One candidate rewrite of one file, and the relation that it claims.

    ``symbols`` say where the edits lie ("Class.method", "function", "Outer.Inner.method"). ``flagged`` are rows of
    ``before`` where, for *repaired*, the ``expected`` error is raised, and which have to run for *corrected*. ``added``
    are the ``state_dict`` names, relative to the class, that it gains under *extended*. ``identity`` are names that it
    has already and that trials put at the identity in both texts, as they put the gained ones after: a matrix at
    ``eye``, a bias at zero. ``hints`` give symbolic shapes of forward's parameters, such as ``{"x": ("b", "t",
    "self.embed_dim")}``; None stands for an unknown size, and a parameter that is a number has one dim. ``declared``
    are the user's harnesses for the file. ``also`` names what must go on working where it does before: "compile",
    "export". Under *corrected*, ``before`` violates one of the ``probes``, and in the regime ``agree`` ("train",
    "one token", "no dropout"; "" for none) both texts compute the same.
    """

    path: str
    before: str
    after: str
    symbols: tuple[str, ...]
    relation: Relation
    flagged: tuple[int, ...] = ()
    added: tuple[str, ...] = ()
    identity: tuple[str, ...] = ()
    hints: Mapping[str, tuple[str | int | None, ...]] = field(default_factory=dict)
    declared: tuple[Declared, ...] = ()
    also: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()
    agree: str = ""
    expected: Expected = "view"


@dataclass(frozen=True, slots=True)
class Reaching:
    """The question whether the code at ``symbols`` ("Class.method") can be run, forward and backward, as it is."""

    path: str
    text: str
    symbols: tuple[str, ...]
    hints: Mapping[str, tuple[str | int | None, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reached:
    """The answer: ``level`` is "module", "subclass", "user" or "function" where it ran, and "" where it did not.

    ``how`` is the call that did it, ``reason`` what stopped the attempt that got furthest.
    """

    level: str
    how: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Probing:
    """The question which properties of attention the class or function ``target`` of a file has, as it is.

    ``symbols`` are its methods ("Class.method"), or the function; ``hints`` and ``declared`` as for a :class:`Job`.
    """

    path: str
    text: str
    target: str
    symbols: tuple[str, ...]
    hints: Mapping[str, tuple[str | int | None, ...]] = field(default_factory=dict)
    declared: tuple[Declared, ...] = ()


@dataclass(frozen=True, slots=True)
class Probed:
    """The answer: what was seen on each device, by its kind. ``reason`` says why nothing was, with a harness ``stub``.

    ``how`` is the call that was made, ``shapes`` its inputs, ``level`` which way to run it served.
    """

    observations: Mapping[str, tuple[Observation, ...]] = field(default_factory=dict)
    how: str = ""
    shapes: tuple[str, ...] = ()
    level: str = ""
    reason: str = ""
    stub: str = ""


@dataclass(frozen=True, slots=True)
class Environment:
    """Where trials run: ``devices`` maps "cpu" and "cuda" to the hardware's name."""

    python: str
    torch_version: str
    devices: dict[str, str]


def job_to_json(job: Job) -> dict[str, Any]:
    return {**asdict(job), "hints": {name: list(shape) for name, shape in job.hints.items()}}


def job_from_json(data: dict[str, Any]) -> Job:
    return Job(
        path=data["path"],
        before=data["before"],
        after=data["after"],
        symbols=tuple(data["symbols"]),
        relation=data["relation"],
        flagged=tuple(data["flagged"]),
        added=tuple(data["added"]),
        identity=tuple(data["identity"]),
        hints={name: tuple(shape) for name, shape in data["hints"].items()},
        declared=tuple(Declared(**each) for each in data["declared"]),
        also=tuple(data["also"]),
        probes=tuple(data.get("probes", ())),  # evidence of earlier versions has none of these
        agree=data.get("agree", ""),
        expected=data.get("expected", "view"),
    )


def probing_from_json(data: dict[str, Any]) -> Probing:
    return Probing(
        path=data["path"],
        text=data["text"],
        target=data["target"],
        symbols=tuple(data["symbols"]),
        hints={name: tuple(shape) for name, shape in data["hints"].items()},
        declared=tuple(Declared(**each) for each in data["declared"]),
    )


def probed_from_json(data: dict[str, Any]) -> Probed:
    observations = {
        device: tuple(Observation(**each) for each in listed) for device, listed in data["observations"].items()
    }
    return Probed(**{**data, "observations": observations, "shapes": tuple(data["shapes"])})


def verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    return asdict(verdict)


def verdict_from_json(data: dict[str, Any]) -> Verdict:
    """Raise KeyError, TypeError or ValueError where ``data`` is not a verdict."""
    trials = tuple(Trial(**{**trial, "shapes": tuple(trial["shapes"])}) for trial in data["trials"])
    names = tuple((str(kind), str(name)) for kind, name in data["device_names"])
    return Verdict(**{**data, "trials": trials, "device_names": names})
