"""States: what one path may take over from another."""

from mha_lint.model.keys import named
from mha_lint.model.sizes import symbol
from mha_lint.model.values import State

a, b, c, d, e, h, k = map(named, "abcdehk")


def test_definitions_of_two_paths_never_lead_in_a_circle() -> None:
    one = State(definitions={c: symbol(h) * symbol(d)})
    one.learn({h: symbol(c) * symbol(k), d: symbol(e)})
    assert one.normal(symbol(h)) == symbol(h)
    assert one.normal(symbol(c)) == symbol(h) * symbol(e)


def test_two_symbols_defined_by_each_other() -> None:
    one = State(definitions={a: symbol(b)})
    one.learn({b: symbol(a)})
    assert one.normal(symbol(a)) == symbol(b)
