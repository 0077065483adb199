"""What one file's attention code does: every class and function interpreted, with the roles of its tensors."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field

import libcst as cst

from mha_lint.model.binding import bind
from mha_lint.model.fuel import OutOfFuel, OutOfSteps
from mha_lint.model.interpreter import Interpreter
from mha_lint.model.keeping import kept
from mha_lint.model.layout import Answer
from mha_lint.model.names import TORCH_BASES, ClassInfo, ModuleNames, collect
from mha_lint.model.paths import (
    ContiguousSeen,
    OperationSeen,
    UnbindSeen,
    ValueSeen,
    ViewSeen,
    WeightingSeen,
)
from mha_lint.model.scale import ScaleSeen
from mha_lint.model.torch_api.devices import Meeting
from mha_lint.model.values import ClassValue, Self, State, Unknown, Value, joined
from mha_lint.screen import tensor_work

MAX_INITS = 4


@dataclass(slots=True)
class ClassModel:
    """A ``torch.nn.Module`` of the file: its attributes after ``__init__`` and what ``forward`` returns.

    ``built`` holds one state for each way through ``__init__``, ``returns`` one (state, value) for each way through
    ``forward``. ``complete`` is False where some path was not followed: nothing may be concluded from absence then.
    """

    cls: ClassInfo
    built: list[State] = field(default_factory=list)
    returns: list[tuple[State, Value]] = field(default_factory=list)
    complete: bool = True
    added: set[ClassInfo] = field(default_factory=set)  # modules whose merged heads go to a residual as they come


@dataclass(slots=True)
class FileModel:
    module: cst.Module
    names: ModuleNames
    classes: list[ClassModel]
    views: dict[cst.BaseExpression, list[ViewSeen]]
    copies: dict[cst.BaseExpression, list[ContiguousSeen]]
    would_stay_views: set[cst.BaseExpression]
    unbinds: dict[cst.BaseExpression, list[UnbindSeen]]
    operations: dict[cst.BaseExpression, list[OperationSeen]]  # by their calls, in the order in which they were met
    weightings: dict[cst.BaseExpression, list[WeightingSeen]]  # by the softmax that made the weights
    scales: dict[cst.CSTNode, list[ScaleSeen]]  # by the product of queries and keys
    meetings: dict[cst.BaseExpression, list[Meeting]]  # calls that made tensors on another device than the module's
    attended: set[cst.BaseExpression]
    scored: set[str]  # "Class.method" (or "function") that computes attention, itself or in a function that it calls
    trace: dict[cst.CSTNode, list[ValueSeen]]
    uses: dict[cst.CSTNode, set[str]]
    kinds: dict[str, set[str]]
    defined_in: dict[cst.FunctionDef, str]
    callers: dict[ClassInfo, ClassModel] = field(default_factory=dict)

    def model_of(self, cls: ClassInfo) -> ClassModel:
        """The model of any class of the file; of one that only calls others it is made when it is asked for."""
        if not self.callers:
            self.callers = {model.cls: model for model in self.classes}
        if cls not in self.callers:
            try:
                self.callers[cls] = _class_model(Interpreter(self.names, self.defined_in), cls)
            except OutOfFuel:
                self.callers[cls] = ClassModel(cls, complete=False)
        return self.callers[cls]


def analyse(
    module: cst.Module, *, every: bool = False, roots: Collection[str] | None = None, among: Collection[str] = ()
) -> FileModel:
    """Interpret every ``nn.Module`` of the file, then every function and method that none of them reached.

    Classes and functions that do no work on tensors themselves, nor call a function of the file that does, are only
    interpreted with ``every``. With ``roots`` ("Class.method", "function"), no others are, and of
    these those alone whose class, or who themselves, are ``among`` what would be begun from without.
    """
    names = collect(module)
    worth: set[ClassInfo | cst.FunctionDef]
    if every:
        worth = {*names.every_class, *names.functions.values()}
    elif roots is None:
        worth = _worth_it(module, names)
    else:
        worth = {each for each in _with_roots(names, roots) if _name(each) in among}
    defined_in = {node: f"{cls.name}.{name}" for cls in names.every_class for name, node in cls.methods.items()} | {
        node: name for name, node in names.functions.items()
    }
    run = Interpreter(names, defined_in)
    classes: list[ClassModel] = []
    try:
        _run_all(run, worth, roots, classes)
    except OutOfFuel:  # what other callers would have told is not known: a part of what was seen could be wrong
        run, classes = Interpreter(names, defined_in), []
    return FileModel(
        module=module,
        names=names,
        classes=classes,
        views=run.views,
        copies=run.copies,
        would_stay_views=run.would_stay_views,
        unbinds=run.unbinds,
        operations=run.operations,
        weightings=run.weightings,
        scales=run.scales,
        meetings=run.meetings,
        attended=run.attended,
        scored=run.scored,
        trace=run.trace,
        uses=run.uses,
        kinds=run.kinds,
        defined_in=defined_in,
    )


def _run_all(
    run: Interpreter,
    worth: Collection[ClassInfo | cst.FunctionDef],
    roots: Collection[str] | None,
    classes: list[ClassModel],
) -> None:
    """Interpret what is worth it. Raises :class:`OutOfFuel` where that takes too many steps."""
    names = run.names
    classes += [_class_model(run, cls) for cls in names.every_class if cls in worth and is_module(cls)]
    learnt = _functions_learnt_of(run)
    for cls in filter(worth.__contains__, names.every_class):
        for node in cls.methods.values():
            wanted = roots is None or f"{cls.name}.{node.name.value}" in roots
            if wanted and node not in learnt and node.name.value != "__init__":
                built = next((model.built for model in classes if model.cls is cls and model.built), [State()])
                _alone(run, node, built[0].copy(), cls)
    for node in names.functions.values():
        if node in worth and node not in learnt:
            _alone(run, node, State(), None)


def _worth_it(module: cst.Module, names: ModuleNames) -> set[ClassInfo | cst.FunctionDef]:
    """The classes and functions whose own text, or that of a function of the file which they name, works on tensors."""
    working, named = tensor_work({name: module.code_for_node(node) for name, node in names.functions.items()})
    classes = {cls for cls in names.every_class if named.search(module.code_for_node(cls.node))}
    return {names.functions[name] for name in working} | {
        cls for cls in names.every_class if not classes.isdisjoint(cls.lineage)
    }


def _name(each: ClassInfo | cst.FunctionDef) -> str:
    return each.name if isinstance(each, ClassInfo) else each.name.value


def _with_roots(names: ModuleNames, roots: Collection[str]) -> set[ClassInfo | cst.FunctionDef]:
    owners = {cls for cls in names.every_class for name in cls.methods if f"{cls.name}.{name}" in roots}
    return {cls for cls in names.every_class if not owners.isdisjoint(cls.lineage)} | {
        node for name, node in names.functions.items() if name in roots
    }


def _functions_learnt_of(run: Interpreter) -> set[cst.CSTNode]:
    """Functions that were followed from a caller whose arguments told something of their views."""
    unclear = {seen[0].function for seen in run.views.values() if all(view.answer is Answer.UNKNOWN for view in seen)}
    return run.visited - unclear


def is_module(cls: ClassInfo) -> bool:
    """Whether the class is, as far as the file tells, a ``torch.nn.Module``: by its bases, or by what it is like."""
    bases = {base for info in cls.lineage for base in info.bases}
    return bool(bases & TORCH_BASES) or (bool(bases) and cls.method("forward") is not None)


def _class_model(run: Interpreter, cls: ClassInfo) -> ClassModel:
    model = ClassModel(cls)
    run.steps, run.truncated, run.added = 0, False, model.added
    init, forward = cls.method("__init__"), cls.method("forward")
    try:
        model.built = [State()] if init is None else _entered(run, init, State(), cls)
        if len(model.built) > MAX_INITS:
            model.built = [*model.built[: MAX_INITS - 1], joined(model.built[MAX_INITS - 1 :])]
        if forward is not None:
            for state in model.built:
                run.steps = 0
                start = State(
                    attributes=kept(run, cls, state.attributes),
                    definitions=dict(state.definitions),
                    ranks=dict(state.ranks),
                )
                model.returns += _returned(run, forward, start, cls)
                if run.hurries:  # it would take as long for each of the other ways of building it
                    run.truncated = True
                    break
    except OutOfSteps:
        model.complete = False
    model.complete = model.complete and not run.truncated
    return model


def _entered(run: Interpreter, node: cst.FunctionDef, state: State, cls: ClassInfo) -> list[State]:
    return [after for after, _ in _returned(run, node, state, cls)]


def _returned(
    run: Interpreter, node: cst.FunctionDef, state: State, cls: ClassInfo | None
) -> list[tuple[State, Value]]:
    """Run a function with arguments of which only the names are known."""
    in_init = node.name.value == "__init__"
    taken = state.own_names
    parameters = [*node.params.posonly_params, *node.params.params, *node.params.kwonly_params]
    static = any(isinstance(d.decorator, cst.Name) and d.decorator.value == "staticmethod" for d in node.decorators)
    keywords: dict[str, Value] = {}
    for index, parameter in enumerate(parameters):
        name = parameter.name.value
        if index == 0 and cls is not None and not static:
            keywords[name] = Self(cls)
        elif isinstance(parameter.default, cst.Name) and parameter.default.value in run.names.classes:
            keywords[name] = ClassValue(run.names.classes[parameter.default.value])
        else:
            keywords[name] = Unknown(name if in_init or name not in taken else f"{node.name.value}.{name}")
    bind(run, node, state, (), keywords)
    run.given = (
        frozenset() if in_init else frozenset(v.key for v in keywords.values() if isinstance(v, Unknown) and v.key)
    )
    return run.run_function(node, state, named=run.defined_in.get(node, node.name.value))


def _alone(run: Interpreter, node: cst.FunctionDef, state: State, cls: ClassInfo | None) -> None:
    run.steps = 0
    attributes = state.attributes if cls is None else kept(run, cls, state.attributes)
    start = State(attributes=attributes, definitions=state.definitions, ranks=state.ranks)
    with suppress(OutOfSteps):
        _returned(run, node, start, cls)
