"""What a symbol or a key is stands in its fields. Nothing tells it from how it is spelled."""

import ast
import gc
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import mha_lint.model
import mha_lint.rules
from mha_lint.model import keys
from mha_lint.model.keys import SELF, Key, Kind
from mha_lint.model.sizes import Size, constant, divided, equate, symbol

MARKS = ("<", "@", ".shape[", " is None", " is ", " // ", "self.")  # what spellings of keys and conditions are made of
ASKING = frozenset(
    "startswith endswith removeprefix removesuffix partition rpartition split index find count strip lstrip".split()
)


def files() -> Iterator[Path]:
    for package in (mha_lint.model, mha_lint.rules):
        yield from Path(package.__path__[0]).rglob("*.py")


def spellings(tree: ast.AST) -> Iterator[str]:
    """The places at which a text is asked for a mark, or a key is made into a text that is asked."""
    for node in ast.walk(tree):
        match node:
            case ast.Compare(left=ast.Constant(value=str(mark)), ops=[ast.In() | ast.NotIn()]) if mark in MARKS:
                yield ast.unparse(node)
            case ast.Call(func=ast.Attribute(value=asked, attr=name), args=arguments) if name in ASKING:
                literals = [each.value for each in ast.walk(ast.Tuple(arguments)) if isinstance(each, ast.Constant)]
                named = any(isinstance(each, ast.Attribute) and each.attr == "text" for each in ast.walk(asked))
                if named or any(mark in str(literal) for literal in literals for mark in MARKS):
                    yield ast.unparse(node)
            case ast.Call(func=ast.Name(id="Key")):
                yield ast.unparse(node)


def test_no_spelling_of_a_key_or_of_a_condition_is_asked_in_model_or_rules() -> None:
    found = {
        f"{path.name}: {text}"
        for path in files()
        if path.name != "keys.py"
        for text in spellings(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == set()


@pytest.mark.parametrize(
    "text",
    [
        "'<' in key",
        "'.shape[' not in (size.symbol or '')",
        "key.startswith('<')",
        "key.startswith(('<', '('))",
        "name.removeprefix('self.')",
        "text.endswith(' is None')",
        "condition.text.partition('.')",
        "Key('x')",
    ],
)
def test_the_search_finds_what_asks_a_spelling(text: str) -> None:
    assert list(spellings(ast.parse(text)))


def test_a_key_is_no_text() -> None:
    assert not isinstance(keys.named("x"), str)
    assert str(keys.dimension(keys.attribute(SELF, "cache"), 2)) == "self.cache.shape[2]"


def test_equal_keys_are_one_object() -> None:
    def made() -> Key:
        return keys.quotient("(a // b)", frozenset({keys.named("a"), keys.named("b")}), keys.named("b"))

    assert made() is made()
    assert keys.part(keys.result(3), 0) is not keys.item(keys.result(3), "0")
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: keys.cut(keys.result(70_001)), range(64)))
    assert len(set(together)) == 1


def test_keys_that_nobody_holds_are_dropped() -> None:
    made = keys.parameter("forward", "dropped")
    count = len(keys._KEYS)
    del made
    gc.collect()
    assert len(keys._KEYS) < count


def test_a_key_knows_what_it_is_made_of() -> None:
    x, made = keys.named("x"), keys.result(1)
    rows = keys.dimension(x, 0)
    assert (rows.kind, rows.number, rows.owner, rows.of_dimension) == (Kind.DIMENSION, 0, x, True)
    assert keys.attribute(made, "dtype").of_result
    assert keys.attribute(made, "dtype").computed
    cut = keys.cut(made)
    assert (cut.of_result, cut.computed) == (False, True)
    assert keys.of_self("scale").of_self
    assert not SELF.of_self
    assert keys.item(x, "n@4", frozenset({keys.left_over("n", 4)})).left_over
    assert keys.entry(keys.attribute(SELF, "config"), "attn_drop").names == ("self", "config", "attn_drop")


def test_a_part_of_a_parameter_belongs_to_it() -> None:
    x = keys.named("x")
    for part in (x, keys.attribute(x, "y"), keys.entry(x, "y"), keys.dimension(keys.attribute(x, "y"), 0)):
        assert part.belongs_to({x})
    for other in (keys.named("xs"), keys.parameter("forward", "x"), keys.attribute(keys.named("y"), "x")):
        assert not other.belongs_to({x})


def test_a_quotient_knows_its_divisor_and_what_it_is_made_of() -> None:
    c, h = keys.dimension(keys.named("x"), 2), keys.named("heads")
    made = divided(symbol(c), symbol(h) * constant(1), {}).symbol
    assert made is not None
    assert (made.kind, made.divisor, made.of_dimension, made.computed) == (Kind.QUOTIENT, h, True, False)


def test_dimensions_are_defined_in_preference_to_parameters() -> None:
    rows, n = keys.dimension(keys.named("x"), 0), keys.named("n")
    for left, right in ((rows, n), (n, rows)):
        known: dict[Key, Size] = {}
        equate(symbol(left), symbol(right), known)
        assert known == {rows: symbol(n)}


def test_words_are_looked_for_in_each_name_alone() -> None:
    key = keys.attribute(keys.attribute(SELF, "args"), "p")
    assert key.says(re.compile(r"^args$"))
    assert not key.says(re.compile(r"args\.p"))
