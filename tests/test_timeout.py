"""``--timeout``: how long the code of a user may take."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from samples import BROKEN

from mha_lint.cli import main
from mha_lint.options import parser
from mha_lint.runner import Plan
from mha_lint.validation.validator import TIMEOUT


def test_without_the_option_the_limit_is_the_same_everywhere() -> None:
    assert parser().parse_args([]).timeout == Plan().timeout == TIMEOUT == 120.0


@pytest.mark.parametrize("value", ["0", "-3", "nan", "inf", "soon", "", "1e9"])
def test_a_limit_that_is_no_time_is_wrong_usage(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([f"--timeout={value}", "--fix", "."])
    assert caught.value.code == 2
    assert f"--timeout: expected a number of seconds above 0, at most 86400, not {value!r}" in capsys.readouterr().err


@pytest.mark.slow
def test_two_fixes_in_a_file_whose_import_hangs_wait_for_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    endless = "import torch\nimport time\nwhile True:\n    time.sleep(1)\n"
    second = BROKEN.partition("class ")[2].replace("Attention(", "Other(", 1)
    text = BROKEN.replace("import torch\n", endless, 1) + f"\n\nclass {second}"
    Path("a.py").write_text(text)
    started = time.monotonic()
    main(["--fix", "--device", "cpu", "--no-cache", "--timeout", "6.5", "-v", "--select", "MHA001", "a.py"])
    out = capsys.readouterr()
    assert out.out.count("took longer than 6.5 s") >= 2, out
    assert Path("a.py").read_text() == text
    monotonic = time.monotonic() - started
    assert monotonic < 6.5 * 2 + 20, monotonic
