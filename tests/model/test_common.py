"""What several states have in common once they are joined into one."""

from __future__ import annotations

from mha_lint.model.common import joined
from mha_lint.model.keys import Key, named, result
from mha_lint.model.layout import contiguous_strides
from mha_lint.model.sizes import Size, symbol
from mha_lint.model.values import NONE, NOTHING, Int, Number, Sequence, State, Tensor, Value, fresh, integer, of_shape

AT: Key = result(7)
B, H, T, S = (symbol(named(name)) for name in "bhts")


def both(one: Value, other: Value, *, at: Key | None = AT) -> Value:
    return joined([State({"x": one}), State({"x": other})], at).variables["x"]


def shape(value: Value) -> tuple[Size, ...]:
    assert isinstance(value, Tensor)
    assert value.shape is not None
    return value.shape


def test_tensors_keep_the_sizes_that_they_share_and_stay_contiguous_where_both_are() -> None:
    joint = both(fresh((B, T)), fresh((B, T + S)))
    assert isinstance(joint, Tensor)
    assert joint.contiguous
    assert joint.strides == contiguous_strides(shape(joint))
    assert shape(joint)[0] == B
    assert shape(joint)[1] not in (T, T + S)


def test_layouts_that_differ_are_unknown() -> None:
    joint = both(fresh((B, T)), of_shape((B, T)))
    assert isinstance(joint, Tensor)
    assert (joint.shape, joint.strides, joint.contiguous) == ((B, T), None, False)


def test_sizes_that_differ_alike_are_one_size() -> None:
    one = State({"k": fresh((B, T)), "v": fresh((B, T)), "n": Int(T), "w": fresh((B, H))})
    other = State({"k": fresh((B, T + S)), "v": fresh((B, T + S)), "n": Int(T + S), "w": fresh((B, T + S))})
    found = joined([one, other], AT).variables
    assert shape(found["k"]) == shape(found["v"])
    assert found["n"] == Int(shape(found["k"])[1])
    assert shape(found["w"])[1] != shape(found["k"])[1]


def test_what_is_not_the_same_to_attention_has_nothing_in_common() -> None:
    assert both(fresh((B, T), roles=frozenset({"scores"})), fresh((B, T))) == NOTHING
    assert both(fresh((B, T)), fresh((B, T, S))) == NOTHING
    assert both(fresh((B, T)), NONE) == NOTHING


def test_small_numbers_are_no_size_but_a_number() -> None:
    assert both(integer(0), integer(1)) == Number()
    assert both(integer(0), Number()) == Number()
    assert isinstance(both(integer(4), integer(8)), Int)


def test_items_are_joined_one_by_one() -> None:
    joint = both(Sequence((Int(B), Int(T))), Sequence((Int(B), NONE)))
    assert joint == Sequence((Int(B), NOTHING))
    assert both(Sequence((Int(B),)), Sequence(())) == NOTHING


def test_without_a_place_nothing_is_named() -> None:
    assert both(fresh((B, T)), fresh((B, S)), at=None) == NOTHING
    assert both(fresh((B, T)), fresh((B, T)), at=None) == fresh((B, T))
