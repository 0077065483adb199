"""This module interprets one file's attention code: every class and function, with the roles of its tensors."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from contextlib import suppress

from msgspec import Struct, field

from mha_lint.model import keys
from mha_lint.model.axes import AxisRoles
from mha_lint.model.cached import WrittenSeen
from mha_lint.model.common import joined
from mha_lint.model.events import (
    ClashSeen,
    ContiguousSeen,
    DiscardedSeen,
    OperationSeen,
    OrderSeen,
    UnbindSeen,
    ValueSeen,
    ViewSeen,
    WeightingSeen,
    led_from_here,
    of_this_module,
)
from mha_lint.model.fuel import (
    MAX_INITS,
    STEPS_OF_ATTENTION,
    STEPS_OF_HOLDERS,
    STEPS_OF_OTHERS,
    STEPS_WHILE_TYPING,
    OutOfFuel,
    OutOfSteps,
)
from mha_lint.model.interpreter.binding import bind
from mha_lint.model.interpreter.handed_tables import handed_tables
from mha_lint.model.interpreter.interpreter import Interpreter
from mha_lint.model.interpreter.keeping import kept
from mha_lint.model.interpreter.tracing import Tracing
from mha_lint.model.layout import Answer
from mha_lint.model.normalised import Normalised
from mha_lint.model.operations.devices import Meeting
from mha_lint.model.rotary import PhaseSeen, RotationSeen
from mha_lint.model.scale import ScaleSeen
from mha_lint.model.values import ClassValue, Self, State, Unknown, Value
from mha_lint.model.worth import Worth, worth_of
from mha_lint.syntax.module import Module
from mha_lint.syntax.names import TORCH_BASES, ClassInfo, ModuleNames, collect
from mha_lint.syntax.nodes import Function, defaults, every_parameter, is_static
from mha_lint.vocabulary import EMBEDS, is_said


class ClassModel(Struct):
    """A ``torch.nn.Module`` of the file: its attributes after ``__init__`` and what ``forward`` returns.

    ``built`` holds one state for each way through ``__init__``, ``returns`` one (state, value) for each way through
    ``forward``. ``complete`` is False where some path was not followed: nothing may be concluded from absence then.
    """

    cls: ClassInfo
    built: list[State] = field(default_factory=list)
    returns: list[tuple[State, Value]] = field(default_factory=list)
    complete: bool = True
    added: set[ClassInfo] = field(default_factory=set)  # modules whose merged heads go to a residual as they come


class FileModel(Struct):
    module: Module
    names: ModuleNames
    classes: list[ClassModel]
    views: dict[ast.expr, list[ViewSeen]]
    copies: dict[ast.expr, list[ContiguousSeen]]
    would_stay_views: set[ast.expr]
    put_back: set[ast.expr]  # views in which dimensions change places, until a later view puts them back
    reshapes: set[ast.Call]  # calls of ``.reshape``
    unbinds: dict[ast.expr, list[UnbindSeen]]
    operations: dict[ast.expr, list[OperationSeen]]  # by their calls, in the order in which they were met
    led: dict[tuple[ast.expr, ast.expr], list[OperationSeen]]  # those of other modules, by the call that led there
    elsewhere: list[OperationSeen]  # those of other modules, which the calls of this one led to
    weightings: dict[ast.expr, list[WeightingSeen]]  # by the softmax that made the weights
    normed: set[tuple[ast.AST, str]]  # products of queries or keys that are normalised on some path, and the method
    counted: set[ast.expr]  # the softmaxes whose results are summed along another dimension than their own
    weighed: set[Normalised]  # the softmaxes by which values are weighted, and those of other modules
    scales: dict[ast.AST, list[ScaleSeen]]  # by the product of queries and keys
    orders: dict[ast.expr, list[OrderSeen]]  # by the calls that repeated a tensor in another order than what it met
    clashes: dict[ast.expr, list[ClashSeen]]  # operations whose shapes clash on every path
    discarded: dict[ast.Call, list[DiscardedSeen]]  # calls of torch whose result nobody takes
    rotations: dict[ast.expr, list[RotationSeen]]  # by the sum of their two terms
    written: dict[ast.expr, list[WrittenSeen]]  # keys behind those of a cache, by the subscript that is written to
    phases: dict[ast.expr, list[PhaseSeen]]  # by the call that takes cosines or sines
    meetings: dict[ast.expr, list[Meeting]]  # calls that made tensors on another device than the module's
    axes: AxisRoles  # which sizes are the batch's, which the tokens'
    attended: set[ast.expr]
    scored: set[str]  # "Class.method" (or "function") that computes attention, itself or in a function that it calls
    trace: dict[ast.AST, list[ValueSeen]]
    expressions: dict[ast.expr, list[ValueSeen]]  # the tensors that expressions give
    uses: dict[ast.AST, set[str]]
    kinds: dict[str, set[str]]
    defined_in: dict[Function, str]
    abroad: set[ast.AST]  # the nodes of other modules that were run
    steps: int  # that it took
    about: frozenset[str]  # the names of what attends, of what holds that, and of the functions that these call
    callers: dict[ClassInfo, ClassModel] = field(default_factory=dict)

    def everywhere(self) -> Iterator[OperationSeen]:
        """Yield what was seen, if in other modules: there may be what becomes of a tensor of this one."""
        for seen in self.operations.values():
            yield from seen
        yield from self.elsewhere

    def model_of(self, cls: ClassInfo) -> ClassModel:
        """The model of any class of the file; of one that only calls others it is made when it is asked for."""
        if not self.callers:
            self.callers = {model.cls: model for model in self.classes}
        if cls not in self.callers:
            try:
                self.callers[cls] = _class_model(Interpreter(self.names, self.defined_in), cls, STEPS_OF_ATTENTION)
            except OutOfFuel:
                self.callers[cls] = ClassModel(cls, complete=False)
        return self.callers[cls]


def analyse(
    module: Module,
    *,
    names: ModuleNames | None = None,
    every: bool = False,
    expressions: bool = False,
    only: Collection[ast.AST] | None = None,
) -> FileModel:
    """Interpret every ``nn.Module`` of a module, then every function and method that none of them reached.

    ``names`` are the names of the module where they are known together with those of its project.

    Classes and functions that do no work on tensors themselves, nor call a function of the file that does, are only
    interpreted with ``every``, which also traces the tensors that names are given. ``expressions`` asks for
    those of all expressions, too.

    ``only`` are the classes, methods and functions that are interpreted on their own; None stands for all. What they
    call is followed, and a class is built whose methods are among them. They are given fewer steps, and no tables that
    other code hands them.
    """
    names = collect(module) if names is None else names
    worth = worth_of(names)
    worked_on = {*names.every_class, *names.functions.values()} if every else worth.working
    defined_in = {node: f"{cls.name}.{name}" for cls in names.every_class for name, node in cls.methods.items()} | {
        node: name for name, node in names.functions.items()
    }
    run = Tracing(names, defined_in) if expressions else Interpreter(names, defined_in)
    run.seen.traces = every
    classes: list[ClassModel] = []
    try:
        _run_all(run, worked_on, worth, only, classes)
        steps = run.meter.spent
    except OutOfFuel:  # what other callers would have told is not known: a part of what was seen could be wrong
        steps = run.meter.spent
        run, classes = Interpreter(names, defined_in), []
    seen, abroad = run.seen, run.homes.abroad
    return FileModel(
        module=module,
        names=names,
        classes=classes,
        views=of_this_module(seen.views, abroad),
        copies=of_this_module(seen.copies, abroad),
        would_stay_views=seen.would_stay_views - abroad,
        put_back=seen.put_back,
        reshapes=seen.reshapes - abroad,
        unbinds=of_this_module(seen.unbinds, abroad),
        operations=of_this_module(seen.operations, abroad),
        led=led_from_here(seen.operations, abroad),
        elsewhere=[each for node in seen.operations if node in abroad for each in seen.operations[node]],
        weightings=of_this_module(seen.weightings, abroad),
        normed=seen.normed,
        counted=seen.counted,
        weighed=seen.weighed,
        scales=of_this_module(seen.scales, abroad),
        orders=of_this_module(seen.orders, abroad),
        clashes=of_this_module({n: found for n, found in seen.clashes.items() if n not in seen.fitting}, abroad),
        discarded=of_this_module(seen.discarded, abroad),
        rotations=of_this_module(seen.rotations, abroad),
        written=of_this_module(seen.written, abroad),
        phases=of_this_module(seen.phases, abroad),
        meetings=of_this_module(seen.meetings, abroad),
        axes=seen.axes,
        attended=seen.attended - abroad,
        scored=seen.scored,
        trace=of_this_module(seen.trace, abroad),
        expressions=of_this_module(seen.expressions, abroad),
        uses=seen.uses,
        kinds=seen.kinds,
        defined_in=defined_in,
        abroad=abroad,
        steps=steps,
        about=worth.about,
    )


def _run_all(
    run: Interpreter,
    worked_on: Collection[ClassInfo | Function],
    worth: Worth,
    only: Collection[ast.AST] | None,
    classes: list[ClassModel],
) -> None:
    """Interpret what is worth it. Raises :class:`OutOfFuel` where that takes too many steps."""

    def most(of: ClassInfo | Function) -> int:
        if of in worth.attending:
            return STEPS_OF_ATTENTION if only is None else STEPS_WHILE_TYPING
        return STEPS_OF_HOLDERS if of in worth.holding else STEPS_OF_OTHERS

    names = run.names
    if only is None:
        run.handed = handed_tables(run, worth)
    working = [cls for cls in names.every_class if cls in worked_on]
    for cls in working:
        if is_module(cls) and _is_wanted(only, cls, *cls.methods.values()):
            classes.append(_class_model(run, cls, most(cls), only))
    learnt = _functions_learnt_of(run)
    for cls in working:
        for name, node in cls.methods.items():
            if node not in learnt and name != "__init__" and _is_wanted(only, cls, node):
                built = next((model.built for model in classes if model.cls is cls and model.built), [State()])
                _alone(run, node, built[0].copy(), cls, most(cls))
    for node in names.functions.values():
        if node in worked_on and node not in learnt and _is_wanted(only, None, node):
            _alone(run, node, State(), None, most(node))


def _is_wanted(only: Collection[ast.AST] | None, cls: ClassInfo | None, *nodes: Function) -> bool:
    """Tell whether a function, or one of the methods of a class, is interpreted on its own."""
    if only is None or (cls is not None and cls.node in only):
        return True
    return any(node in only for node in nodes)


def _functions_learnt_of(run: Interpreter) -> set[ast.AST]:
    """Functions that were followed from a caller whose arguments told something of their views."""
    views = run.seen.views.values()
    unclear = {seen[0].function for seen in views if all(view.answer is Answer.UNKNOWN for view in seen)}
    return run.visited - unclear


def is_module(cls: ClassInfo) -> bool:
    """Tell whether the class is a ``torch.nn.Module``: it has such a base, or any base and a ``forward`` method."""
    bases = {base for info in cls.lineage for base in info.bases}
    return bool(bases & TORCH_BASES) or (bool(bases) and cls.method("forward") is not None)


def _class_model(run: Interpreter, cls: ClassInfo, most: int, only: Collection[ast.AST] | None = None) -> ClassModel:
    model = ClassModel(cls)
    run.meter.begin(most)
    run.meter.truncated, run.seen.added = False, model.added
    init, forward = cls.method("__init__"), cls.method("forward")
    try:
        model.built = [State()] if init is None else _entered(run, init, State(), cls)
        if len(model.built) > MAX_INITS:
            model.built = [*model.built[: MAX_INITS - 1], joined(model.built[MAX_INITS - 1 :])]
        if forward is not None and _is_wanted(only, cls, forward):
            for state in model.built:
                run.meter.begin(most)
                start = State(
                    attributes=kept(run, cls, state.attributes),
                    definitions=dict(state.definitions),
                    ranks=dict(state.ranks),
                    joined=state.joined,
                )
                model.returns += _returned(run, forward, start, cls)
                if run.meter.widens:  # it would take as long for each of the other ways of building it
                    run.meter.truncated = True
                    break
    except OutOfSteps:
        model.complete = False
    model.complete = model.complete and not run.meter.truncated
    return model


def _entered(run: Interpreter, node: Function, state: State, cls: ClassInfo) -> list[State]:
    return [after for after, _ in _returned(run, node, state, cls)]


def _returned(run: Interpreter, node: Function, state: State, cls: ClassInfo | None) -> list[tuple[State, Value]]:
    """Run a function with arguments of which only the names are known."""
    in_init = node.name == "__init__"
    taken = state.own_names
    keywords: dict[str, Value] = {}
    written = defaults(node)
    for index, parameter in enumerate(every_parameter(node)):
        name, default = parameter.arg, written.get(parameter.arg)
        if index == 0 and cls is not None and not is_static(node):
            keywords[name] = Self(cls)
        elif (made := _default_class(run, default)) is not None:
            keywords[name] = made
        else:
            clashes = not in_init and name in taken
            key = keys.parameter(node.name, name) if clashes else keys.named(name)
            keywords[name] = Unknown(key, run.handed.get(node, {}).get(name))
    bind(run, node, state, (), keywords)
    given = {
        value.key: name for name, value in keywords.items() if isinstance(value, Unknown) and value.key is not None
    }
    run.axes.begin((node, cls))
    run.seen.began, run.seen.parameters = node, {} if in_init else given
    run.seen.given = frozenset(run.seen.parameters)
    return run.run_function(node, state, named=run.defined_in.get(node, node.name))


def _default_class(run: Interpreter, default: ast.expr | None) -> ClassValue | None:
    """The class that a default names: one of the file, or an imported one that makes tokens."""
    if not isinstance(default, ast.Name):
        return None
    if default.id in run.names.classes:
        return ClassValue(run.names.classes[default.id])
    if default.id not in run.names.imports or not is_said(EMBEDS, default.id):
        return None
    value = run.evaluate(default, State())
    return value if isinstance(value, ClassValue) else None


def _alone(run: Interpreter, node: Function, state: State, cls: ClassInfo | None, most: int) -> None:
    run.meter.begin(most)
    attributes = state.attributes if cls is None else kept(run, cls, state.attributes)
    start = State(attributes=attributes, definitions=state.definitions, ranks=state.ranks)
    with suppress(OutOfSteps):
        _returned(run, node, start, cls)
