"""Fields that say where a thing was found do not count where two are compared."""

from __future__ import annotations

import pytest
from msgspec import Struct
from msgspec.structs import replace

from mha_lint.comparing import compared_without


@compared_without("row", "tags")
class Sized(Struct, frozen=True):
    name: str
    size: int
    row: int = 0
    tags: tuple[list[str], ...] = ()  # of what has no hash


class Other(Struct, frozen=True):
    name: str
    size: int


def test_data_are_equal_and_hash_alike_whatever_the_fields_left_out_hold() -> None:
    one, other = Sized("b", 2, 7, (["x"],)), Sized("b", 2, 8)
    assert one == other
    assert hash(one) == hash(other)
    assert {one: "found"}[other] == "found"
    assert replace(one, row=9) == one


def test_data_that_differ_in_a_field_that_counts_or_are_of_another_class_are_not_equal() -> None:
    assert Sized("b", 2) != Sized("b", 3)
    assert Sized("b", 2) != Sized("h", 2)
    assert Sized("b", 2) != Other("b", 2)


@pytest.mark.parametrize("names", [("size", "rows"), ("name", "size")])
def test_a_name_that_is_no_field_and_a_class_without_a_field_to_compare_are_mistakes(names: tuple[str, ...]) -> None:
    with pytest.raises(TypeError, match="Other is to be compared by"):
        compared_without(*names)(Other)
