"""The flake8 plugin, under the real flake8 command."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from samples import BROKEN, ROW

from mha_lint.cli import main


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project as working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def flake8(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flake8", *arguments]
    return subprocess.run(command, capture_output=True, text=True, input=stdin, timeout=120)


def places(report: str) -> list[tuple[str, ...]]:
    """(file, row, column, code, message) of the plugin's lines."""
    return sorted(re.findall(r"^(?:\./)?(.+?):(\d+):(\d+): (MHA\d+) (.+)$", report, re.MULTILINE))


def test_flake8_reports_the_same_findings_at_the_same_positions(capsys: pytest.CaptureFixture[str]) -> None:
    contents = {
        "plain.py": BROKEN.encode(),
        "crlf.py": BROKEN.replace("\n", "\r\n").encode(),
        "bom.py": b"\xef\xbb\xbf" + BROKEN.encode(),
        "tabs.py": BROKEN.replace("    ", "\t").encode(),
        "latin1.py": ("# coding: latin-1\n" + BROKEN.replace("y = (", "é, y = 1, (")).encode("latin-1"),
        "wide.py": BROKEN.replace("y = (", "漢字, y = 1, (").encode(),
        "two.py": (BROKEN + BROKEN.replace("Attention", "Other")).encode(),
    }
    for name, data in contents.items():
        Path(name).write_bytes(data)
    main(["--output-format", "json", "--no-cache"])
    expected = sorted(
        (
            Path(finding["filename"]).name,
            str(finding["location"]["row"]),
            str(finding["location"]["column"]),
            finding["code"],
            finding["message"],
        )
        for finding in json.loads(capsys.readouterr().out)["findings"]
    )
    assert len(expected) == len(contents) + 1
    assert places(flake8("--select", "MHA", ".").stdout) == expected


def test_the_plugin_is_on_without_any_option() -> None:
    Path("a.py").write_text(BROKEN)
    done = flake8("a.py")
    assert [place[3] for place in places(done.stdout)] == ["MHA001"]
    assert done.returncode == 1
    assert re.search(r"\bmha-lint: \d+\.\d+\.\d+", flake8("--version").stdout)


@pytest.mark.parametrize(
    "text",
    [
        BROKEN.replace("view(b, t, c)", "view(b, t, c)  # noqa: MHA001"),
        BROKEN.replace("view(b, t, c)", "view(b, t, c)  #noqa:mha001"),
        BROKEN.replace("view(b, t, c)", "view(\n            b, t, c\n        )  # noqa: MHA001"),
        f"# mha-lint: noqa\n{BROKEN}",
        f"# mha-lint: noqa: MHA001\n{BROKEN}",
    ],
    ids=["inline", "tight", "last row", "file", "file with code"],
)
@pytest.mark.slow
def test_noqa_silences_as_on_the_command_line_until_it_is_disabled(text: str) -> None:
    Path("a.py").write_text(text)
    assert main(["-qq", "--no-cache"]) == 0
    assert places(flake8("a.py").stdout) == []
    assert len(places(flake8("--disable-noqa", "a.py").stdout)) == 1


def test_flake8s_own_selection_applies() -> None:
    Path("a.py").write_text(BROKEN)
    assert places(flake8("--ignore", "MHA001", "a.py").stdout) == []
    assert places(flake8("--select", "MHA002", "a.py").stdout) == []
    assert places(flake8("--per-file-ignores", "a.py:MHA0", "a.py").stdout) == []


def test_pyproject_is_respected_and_setup_cfg_overrides_it() -> None:
    Path("a.py").write_text(BROKEN)
    Path("pyproject.toml").write_text('[tool.mha-lint]\nignore = ["MHA001"]\n')
    assert places(flake8("a.py").stdout) == []
    Path("setup.cfg").write_text("[flake8]\nmha-select = MHA001, MHA003\n")
    assert [place[1] for place in places(flake8("a.py").stdout)] == [str(ROW)]
    assert places(flake8("--mha-select", "MHA003", "a.py").stdout) == []


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("pyproject.toml", '[tool.mha-lint]\nselect = ["MHA00I"]\n', "unknown rule code 'MHA00I'"),
        ("setup.cfg", "[flake8]\nmha-select = E501\n", "unknown rule code 'E501'"),
    ],
)
def test_a_mistake_in_the_settings_is_one_line(file: str, text: str, message: str) -> None:
    Path("a.py").write_text(BROKEN)
    Path(file).write_text(text)
    done = flake8("a.py")
    assert done.returncode == 1
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_findings_are_kept_between_runs() -> None:
    Path("a.py").write_text(BROKEN)
    first = flake8("a.py").stdout
    (kept,) = Path(".mha_lint_cache/lint").glob("*/*.json")
    kept.write_text(kept.read_text().replace("no `.contiguous()` between", "what was kept"))
    assert flake8("a.py").stdout == first.replace("no `.contiguous()` between", "what was kept")
    assert flake8("--mha-no-cache", "a.py").stdout == first
    Path("a.py").write_text(f"x = 1\n{BROKEN}")
    assert [place[1] for place in places(flake8("a.py").stdout)] == [str(ROW + 1)]


def test_without_a_cache_nothing_is_written() -> None:
    Path("a.py").write_text(BROKEN)
    flake8("--mha-no-cache", "a.py")
    assert not Path(".mha_lint_cache").exists()


def test_files_that_do_not_parse_are_left_to_flake8() -> None:
    Path("a.py").write_text("import torch\nx = (\n")
    done = flake8("a.py")
    assert "E999" in done.stdout
    assert "MHA" not in done.stdout
    assert done.stderr == ""


def test_stdin_is_linted() -> None:
    done = flake8("--select", "MHA", "--stdin-display-name", "x.py", "-", stdin=BROKEN)
    assert [place[:2] for place in places(done.stdout)] == [("x.py", str(ROW))]


def test_flake8_imports_no_torch_and_parses_nothing_else() -> None:
    Path("plain.py").write_text("x = 1\n")
    script = (
        "import sys\nfrom flake8.main.cli import main\nmain(['-j1', 'plain.py'])\n"
        "print(sorted({'libcst', 'torch', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
