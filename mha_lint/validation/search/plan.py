"""Arguments for one attempt to build a class, in a form that can be made afresh for each text."""

from __future__ import annotations

import copy
import types
from collections.abc import Mapping
from typing import Any

import torch
from msgspec import Struct, field
from msgspec.structs import replace

from mha_lint.validation.search import factories
from mha_lint.validation.search.flags import Flag
from mha_lint.validation.search.vocabulary import Sizing, role_of, value_of

SIZES = ("width", "heads", "kv_heads", "head_dim", "mlp", "length", "vocab", "layers")


# What a configuration object conventionally answers where the general vocabulary would mislead.
_CONFIG_ANSWERS: dict[str, Any] = {
    "rope_scaling": None,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
    "position_embedding_type": "absolute",
    "pretraining_tp": 1,
    "layer_types": ["full_attention"] * 4,
    "quantization_config": None,
    "torch_dtype": None,
    "partial_rotary_factor": 1.0,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "chunk_size_feed_forward": 0,
    "is_decoder": False,
    "initializer_range": 0.02,
}


class ConfigClass(Struct, frozen=True):
    """A configuration of a class of the user: built with ``arguments`` for each text's own version of the class."""

    cls: type
    arguments: Mapping[str, Any]

    def build(self, module: types.ModuleType) -> Any:
        own = getattr(module, self.cls.__name__, None)
        cls = own if isinstance(own, type) and own.__module__ == self.cls.__module__ else self.cls
        return cls(**{name: _fresh(value, module) for name, value in self.arguments.items()})


def in_eval(module: Any) -> Any:
    """The module in eval mode; a ``train`` of the class's own may return nothing."""
    module.eval()
    return module


class Part(Struct, frozen=True):
    """An object of a class of the user's file that another class takes as an argument: built anew for each text."""

    cls: str
    arguments: Mapping[str, Any]

    def build(self, module: types.ModuleType) -> Any:
        made = getattr(module, self.cls)(**{name: _fresh(value, module) for name, value in self.arguments.items()})
        return in_eval(made) if isinstance(made, torch.nn.Module) else made


class Layer(Struct, frozen=True):
    """A linear layer that a class takes as an argument: built anew for each text."""

    takes: int
    gives: int

    def build(self, module: types.ModuleType) -> Any:
        return torch.nn.Linear(self.takes, self.gives)


class OpenConfig(Struct, frozen=True):
    """A configuration nobody wrote: answers by the conventional meaning of each name that is asked for."""

    sizing: Sizing
    overrides: Mapping[str, Any] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()
    nullable: frozenset[str] = frozenset()  # names that the file compares with None
    rate: float = 0.1  # of each dropout
    sections: frozenset[str] = frozenset()  # names of parts that are configurations themselves

    def build(self, module: types.ModuleType) -> Any:
        return Answers(self)

    def answer(self, name: str) -> Any:
        """Return the answer to ``name``; None where the name is absent."""
        return None if name in self.absent else _answer(name, self)


class Answers:
    """The object that stands where the code expects its configuration; attributes and items are the same."""

    def __init__(self, spec: OpenConfig) -> None:
        self.__dict__["_spec"] = spec

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        spec: OpenConfig = self.__dict__["_spec"]
        if name in spec.absent:
            raise AttributeError(name)
        value = copy.deepcopy(_answer(name, spec))
        self.__dict__[name] = value
        return value

    def __getitem__(self, name: str | int) -> Any:
        if isinstance(name, int):
            return self  # the configuration of one layer
        try:
            return getattr(self, name)
        except (AttributeError, TypeError) as error:
            raise KeyError(name) from error

    def __contains__(self, name: str) -> bool:
        return isinstance(name, str) and name not in self.__dict__["_spec"].absent

    def get(self, name: str, default: Any = None) -> Any:
        spec: OpenConfig = self.__dict__["_spec"]
        return getattr(self, name) if role_of(name) in SIZES or name in spec.sections else default

    def update(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)

    def asked(self) -> dict[str, Any]:
        """Return what was asked for, also of the parts of the configuration that are configurations themselves."""
        answers = {name: value for name, value in self.__dict__.items() if name != "_spec"}
        parts = [value for value in answers.values() if isinstance(value, Answers)]
        return {name: value for part in parts for name, value in part.asked().items()} | answers


def _answer(name: str, spec: OpenConfig) -> Any:
    if name in spec.overrides:
        return spec.overrides[name]
    if name in _CONFIG_ANSWERS:
        return _CONFIG_ANSWERS[name]
    role = role_of(name)
    if role == "config" or name in spec.sections:
        return Answers(spec)
    if role == "rate":
        return spec.rate
    if not role and name in spec.nullable:
        return None
    try:
        return value_of(role, spec.sizing)
    except KeyError:
        return False


class Plan(Struct, frozen=True):
    """Arguments for one attempt: by parameter name, plus the sizes that they were chosen from."""

    sizing: Sizing
    arguments: Mapping[str, Any]
    written: str = ""  # the arguments as the user wrote them, instead
    factory: str = ""  # or the function of the user that builds it
    flags: tuple[Flag, ...] = ()  # set for the trial, where no argument sets them
    prepared_by: str = ""  # a method that is called once it is built

    def with_argument(self, name: str, value: Any) -> Plan:
        return replace(self, arguments={**self.arguments, name: value})

    def is_full_size(self) -> bool:
        """Tell whether a configuration is left to its own defaults, which are those of a production model."""
        return any(isinstance(value, ConfigClass) and not value.arguments for value in self.arguments.values())

    def as_written(self) -> str:
        """The arguments as one would write them, "..." for what has no short literal."""
        plain = (bool, int, float, str, type(None), tuple, list, dict)
        words = {name: _word(value) if isinstance(value, plain) else "..." for name, value in self.arguments.items()}
        return self.written or ", ".join(f"{name}={word}" for name, word in words.items())

    def describe(self) -> str:
        if self.factory:
            return f"made by {self.factory}"
        return self.written or ", ".join(f"{name}={_word(value)}" for name, value in self.arguments.items())

    def told_flags(self) -> str:
        """The flags that are set and the method that prepares it, to end a sentence; "" where there are none."""
        told = [flag.describe() for flag in self.flags]
        told += [f"{self.prepared_by}() called first"] if self.prepared_by else []
        return f" with {', '.join(told)}" if told else ""


def _word(value: Any) -> str:
    match value:
        case ConfigClass(cls=cls, arguments=arguments):
            inner = ", ".join(f"{name}={_word(item)}" for name, item in arguments.items())
            return f"{cls.__name__}({inner})"
        case Part(cls=part, arguments=arguments):
            return f"{part}({', '.join(f'{name}={_word(item)}' for name, item in arguments.items())})"
        case Layer(takes, gives):
            return f"Linear({takes}, {gives})"
        case OpenConfig(overrides=overrides):
            return f"<configuration by conventional names{'' if not overrides else f' with {dict(overrides)}'}>"
        case type():
            return value.__name__
    return repr(value)[:60]


def build(target: Any, plan: Plan, module: types.ModuleType, given: dict[str, Any] | None = None) -> Any:
    """Call ``target`` with the plan's arguments, made afresh; whatever it raises passes through.

    Those arguments are put into ``given``.
    """
    if plan.factory:
        return factories.made(plan.factory, target, {})[0]
    if plan.written:
        return eval(f"_target_({plan.written})", {"torch": torch, **vars(module), "_target_": target})
    arguments = {name: _fresh(value, module) for name, value in plan.arguments.items()}
    if given is not None:
        given.update(arguments)
    made = target(**arguments)
    if plan.prepared_by:
        getattr(made, plan.prepared_by)()
    return made


def _fresh(value: Any, module: types.ModuleType) -> Any:
    if isinstance(value, (ConfigClass, OpenConfig, Part, Layer)):
        return value.build(module)
    return copy.deepcopy(value) if isinstance(value, (list, dict)) else value
