"""What a file does while it is imported costs neither more time than it must, nor the truth of a verdict."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import msgspec
import pytest

from mha_lint.validation import Job, Probing, Validator

from .conftest import Check
from .modules import VIT

pytest.importorskip("torch")

pytestmark = pytest.mark.slow

SPLIT = "q, k, v = qkv.unbind(0)"
INDEXED = "q, k, v = qkv[0], qkv[1], qkv[2]"
SYMBOL = "Attention.forward"


def job(path: Path, statement: str, new: str = INDEXED) -> Job:
    before = VIT.replace("import torch\n", f"import torch\n{statement}\n", 1)
    path.write_text(before)
    after = before.replace(SPLIT, new) + "'after'\n"
    return Job(str(path), before, after, ("Attention.forward",), "equivalent")


def test_an_import_that_hangs_costs_its_time_once_a_file(tmp_path: Path) -> None:
    with Validator(devices=("cpu",), timeout=4.0) as impatient:
        impatient.environment()
        path = tmp_path / "a.py"
        first = impatient.validate(job(path, "while True: pass"))
        assert first.verdict == "not exercised"
        assert "took longer than 4 s" in first.reason
        assert "the import of the file" in first.reason
        started = time.monotonic()
        for new in ("q, k, v = qkv", "q, k, v = qkv[0], qkv[1], qkv[-1]", "q, k, v = list(qkv)"):
            assert impatient.validate(job(path, "while True: pass", new)).reason == first.reason
        assert time.monotonic() - started < 3.0


def test_a_rewrite_that_hangs_when_imported_costs_no_other_fix_of_the_file(tmp_path: Path) -> None:
    with Validator(devices=("cpu",), timeout=8.0) as impatient:
        impatient.environment()
        right = job(tmp_path / "a.py", "")
        hanging = Job(right.path, right.before, right.after + "while True: pass\n", right.symbols, right.relation)
        assert impatient.validate(hanging).verdict != "validated"
        impatient._timeout = 60.0  # on a busy machine, code that ends may need more
        assert impatient.validate(right).verdict == "validated"


def test_a_file_whose_endless_import_was_mended_is_imported_again(tmp_path: Path) -> None:
    with Validator(devices=("cpu",), timeout=4.0) as impatient:
        impatient.environment()
        assert impatient.validate(job(tmp_path / "a.py", "while True: pass")).verdict == "not exercised"
        impatient._timeout = 60.0
        assert impatient.validate(job(tmp_path / "a.py", "")).verdict == "validated"


SETTINGS = [
    "torch.set_default_dtype(torch.float64)",
    "torch.set_default_dtype(torch.float16)",
    "torch.set_grad_enabled(False)",
    "torch.set_default_device('meta')",
    "torch.backends.cudnn.enabled = False",
]


@pytest.mark.parametrize("statement", SETTINGS)
def test_settings_of_torch_that_an_import_changes_do_not_hold_for_the_trials(check: Check, statement: str) -> None:
    source = VIT.replace("import torch\n", f"import torch\n{statement}\n", 1)
    verdict = check(source, SPLIT, INDEXED, "Attention.forward")
    assert verdict.verdict == "validated", verdict.reason
    assert {item.dtype for item in verdict.trials} == {"float32", "float64"}
    plain = check(VIT, SPLIT, INDEXED, "Attention.forward")
    assert len(verdict.trials) == len(plain.trials)


LEAVING = [
    "import sys; sys.exit(3)",
    "raise SystemExit",
    "exit()",
    "import argparse; PARSER = argparse.ArgumentParser(); PARSER.add_argument('data'); PARSER.parse_args()",
]


@pytest.mark.parametrize("statement", LEAVING)
def test_of_a_script_that_leaves_the_definitions_above_are_run(check: Check, statement: str) -> None:
    verdict = check(f"{VIT}\n\n{statement}\nimport missing_one.thing as thing\n", SPLIT, INDEXED, "Attention.forward")
    assert verdict.verdict == "validated", verdict.reason


def test_a_script_whose_arguments_all_have_defaults_gets_none(check: Check) -> None:
    parse = "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--x', default=3)\n"
    source = f"{parse}ARGS = parser.parse_args()\nassert ARGS.x == 3\n{VIT}"
    assert check(source, SPLIT, INDEXED, "Attention.forward").verdict == "validated"


@pytest.mark.parametrize("above", ["", "def something(): pass\n"])
def test_a_script_that_leaves_above_the_class_says_where(check: Check, above: str) -> None:
    verdict = check(f"{above}\nraise SystemExit(4)\n{VIT}", SPLIT, INDEXED, "Attention.forward")
    assert verdict.verdict == "not exercised"
    row = above.count("\n") + 2
    assert f"ends at line {row} with SystemExit" in verdict.reason


def test_a_rewrite_that_leaves_where_before_went_on_is_refuted(check: Check) -> None:
    verdict = check(f"{VIT}\nDONE = True\n", "DONE = True", "raise SystemExit", "Attention.forward")
    assert verdict.verdict == "refuted"
    assert "SystemExit" in verdict.reason


@pytest.mark.parametrize("handler", ["SIG_IGN", "SIG_DFL"])
def test_an_import_that_ignores_ended_children_changes_nothing(check: Check, handler: str) -> None:
    statement = f"import signal; signal.signal(signal.SIGCHLD, signal.{handler})"
    verdict = check(VIT.replace("import torch\n", f"import torch\n{statement}\n", 1), SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason


def test_a_caller_that_ignores_ended_children_changes_nothing(check: Check) -> None:
    known = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with Validator(devices=("cpu",), timeout=60.0) as inheriting:
            verdict = check(VIT, SPLIT, INDEXED, SYMBOL, using=inheriting)
            crash = check(VIT, SPLIT, f"{SPLIT}; import os; os._exit(0)", SYMBOL, using=inheriting)
    finally:
        signal.signal(signal.SIGCHLD, known)
    assert verdict.verdict == "validated", verdict.reason
    assert (crash.verdict, "exit status 0" in crash.reason) == ("refuted", True)


ESCAPE = "\\x1b[31m\\x9b2J\\x07\\u202e"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("import torch\n", f"import torch\nraise RuntimeError('{ESCAPE}')\n"),
        ("        B, N, C = x.shape", f"        raise ValueError('{ESCAPE}')"),
        ("        B, N, C = x.shape", f"        raise type('{ESCAPE}', (SystemExit,), {{}})('{ESCAPE}')"),
        ("        self.scale", f"        raise LookupError('{ESCAPE}')\n        self.scale"),
    ],
)
def test_what_user_code_says_cannot_move_the_cursor_of_a_terminal(check: Check, old: str, new: str) -> None:
    source = VIT.replace(old, new, 1) if old in VIT else VIT
    assert source != VIT
    after = SPLIT if SPLIT in source else old
    verdict = check(source, after, INDEXED, SYMBOL)
    assert "\\x1b[31m" in verdict.reason
    assert_printable(verdict)


def test_a_counterexample_cannot_move_the_cursor_of_a_terminal(check: Check) -> None:
    verdict = check(VIT, SPLIT, f"{SPLIT}\n        raise ValueError('{ESCAPE}')", SYMBOL)
    assert verdict.verdict == "refuted"
    assert "\\x1b[31m" in str(verdict)
    assert_printable(verdict)


def test_what_a_probed_class_says_cannot_move_the_cursor_of_a_terminal(validator: Validator, tmp_path: Path) -> None:
    source = VIT.replace("        B, N, C = x.shape", f"        raise ValueError('{ESCAPE}')", 1)
    path = tmp_path / "a.py"
    path.write_text(source)
    probed = validator.probe(Probing(str(path), source, "Attention", (SYMBOL,)))
    assert "\\x1b[31m" in probed.reason
    assert probed.reason.isprintable()


def assert_printable(value: object) -> None:
    for text in re.findall(r"[^\n]+", " ".join(map(str, _texts(msgspec.to_builtins(value))))):
        assert text.isprintable(), text


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in _texts(each)]
    if isinstance(value, list | tuple):
        return [text for each in value for text in _texts(each)]
    return [value] if isinstance(value, str) else []
