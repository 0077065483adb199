"""The arms that a rewrite changed, and the marks that show which of them ran."""

from __future__ import annotations

import ast

from mha_lint.validation.trials.arms import change_of


def test_only_arms_whose_text_differs_have_changed() -> None:
    change = change_of("x = a if c else b\n", "x = a if c else d\n")
    assert [item.words for item in change.before] == ["b"]
    assert [item.words for item in change.after] == ["d"]
    assert change_of("x = (a if c  # why\n  else b)\n", "x = a if c else b\n").after == frozenset()


def test_arms_that_change_places_have_changed() -> None:
    change = change_of("x = a if c else b\n", "x = b if c else a\n")
    assert {item.words for item in change.after} == {"a", "b"}
    moved = change_of("if a:\n    if b:\n        f()\n        g()\n", "if a:\n    if b:\n        f()\n    g()\n")
    assert [item.first for item in moved.after] == [4]


def test_a_branch_that_another_one_is_put_before_has_not_changed() -> None:
    change = change_of("if a:\n    f()\nelif b:\n    g()\n", "if a:\n    f()\nelif c:\n    h()\nelif b:\n    g()\n")
    assert change.before == frozenset()
    assert sorted(item.first for item in change.after) == [3, 4]


def test_a_changed_decorator_has_changed() -> None:
    change = change_of("@a\ndef f(): return 1\n", "@b\ndef f(): return 1\n")
    assert [item.first for item in change.after] == [2]


def test_form_feeds_begin_no_row() -> None:
    before = "a()\n\x0c\nb()\nif c: d()\ne()\n"
    change = change_of(before, before.replace("d()", "f()"))
    assert [(item.first, item.words) for item in change.after] == [(4, "f()")]


def test_a_row_that_becomes_part_of_a_string_has_changed() -> None:
    before = 'a = 1\nb = 2\nc = 3\n"""\n"""\n'
    after = 'a = 1\n"""\nb = 2\nc = 3\n"""\n'
    assert {item.first for item in change_of(before, after).before} == {2, 3}


def test_marks_keep_rows_docstrings_and_meaning() -> None:
    before = (
        'from __future__ import annotations\ndef f(x):\n    """Text."""\n    return [x and 1, x or 2, x if x else 0]\n'
    )
    after = (
        before.replace("and 1", "and 7").replace("return", "y = 5\n    return").replace("else 0", "else (lambda: 3)()")
    )
    marked = change_of(before, after).marked_after
    assert marked is not None
    names: dict[str, object] = {}
    exec(compile(marked, "marked", "exec"), names)
    function = names["f"]
    assert callable(function)
    assert (function(0), function(4)) == ([0, 2, 3], [7, 4, 4])
    assert function.__doc__ == "Text."
    rows = {node.lineno for node in ast.walk(ast.parse(after)) if isinstance(node, ast.expr)}
    marked_rows = {node.lineno for node in ast.walk(marked) if isinstance(node, ast.expr)}
    assert rows <= marked_rows
    assert min(marked_rows - rows) > len(after.splitlines())
