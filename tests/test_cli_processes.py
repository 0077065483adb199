"""The command as processes: its workers, what it imports, and how it ends when it is interrupted."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from samples import BROKEN, SYNTAX_ERROR

import mha_lint
from mha_lint.cli import main


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project as working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, text: str = BROKEN) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def with_rule(project: Path, check: str) -> dict[str, str]:
    """An environment in which a package is installed whose one rule runs the statements ``check`` on each file."""
    write(
        "rules/added.py",
        "import os, pathlib, signal, time\nfrom mha_lint.rules import Rule\n\n\n"
        "class Added(Rule):\n"
        "    code, name, severity, why = 'MHX001', 'added', 'error', 'why'\n\n"
        "    def check(self, model, places):\n"
        f"        {check}\n"
        "        return iter(())\n",
    )
    write("rules/added-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: added\nVersion: 1\n")
    write("rules/added-1.dist-info/entry_points.txt", "[mha_lint.rules]\nMHX001 = added:Added\n")
    return {**os.environ, "PYTHONPATH": str(project / "rules")}


def test_two_processes_report_what_one_reports(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        write(f"m{number:02}.py", f"# {number}\n" + BROKEN)
    write("m05.py", SYNTAX_ERROR)
    main(["-j", "1", "--no-cache"])
    alone = capsys.readouterr()
    monkeypatch.setattr("mha_lint.runner._ALONE_SECONDS", 0.0)
    main(["-j", "2", "--no-cache"])
    assert capsys.readouterr() == alone


def test_a_file_that_kills_its_process_is_named_and_the_others_are_linted(project: Path) -> None:
    for number in range(24):
        write(f"m{number:02}.py", f"# {number}\n" + BROKEN)
    write("m05.py", BROKEN.replace("Attention", "Deadly"))
    environment = with_rule(project, "'Deadly' in places.text and os.kill(os.getpid(), signal.SIGSEGV)")
    script = (
        "import glob, sys\nfrom mha_lint import cli, runner\nrunner._ALONE_SECONDS = 0.0\n"
        "sys.exit(cli.main(['-j2', '--no-cache', '--output-format', 'json', *sorted(glob.glob('m*.py'))]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 2, done.stderr
    names = sorted(Path(finding["filename"]).name for finding in json.loads(done.stdout)["findings"])
    assert names == [f"m{number:02}.py" for number in range(24) if number != 5]
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error:"))
    assert error.startswith("error: m05.py: the process that linted it died (signal 11); please report it at ")


def test_python_m_and_the_reader_that_stops_early() -> None:
    for number in range(7):
        write(f"m{number}.py", BROKEN * 20)  # in full, more than a pipe holds
    for redirection in ("", "2>&1"):
        script = f'"{sys.executable}" -m mha_lint --no-cache --output-format full {redirection}'
        script += ' | head -n 1; echo "${PIPESTATUS[0]}"'
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
        assert re.fullmatch(r"m0\.py:.*\n141\n", done.stdout)
        assert done.stderr == ""


def test_version_starts_without_the_heavy_imports() -> None:
    script = (
        "import sys\nfrom mha_lint.cli import main\n"
        "try:\n    main(['--version'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'libcst', 'rich', 'torch', 'pathspec', 'importlib.metadata'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == f"mha-lint {mha_lint.__version__}\n[]\n"


def test_a_file_that_is_not_about_attention_is_never_parsed() -> None:
    write("plain.py", "import os\n\n\ndef f(x: int) -> int:\n    return x + 1\n")
    script = (
        "import sys\nfrom mha_lint.cli import main\nprint(main(['plain.py']))\n"
        "print(sorted({'libcst', 'rich', 'torch', 'pathspec'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "All checks passed.\n0\n[]\n"


def test_linting_neither_imports_torch_nor_runs_the_file() -> None:
    write("broken.py", BROKEN + "\n\nopen('it-was-run', 'w').close()\n")
    script = (
        "import sys\nfrom mha_lint.cli import main\n"
        "print(main(['--no-cache', '-qq', 'broken.py']), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "1 False\n"
    assert not Path("it-was-run").exists()


def test_ctrl_c_ends_with_130_and_one_line(project: Path) -> None:
    for number in range(400):
        write(f"m{number}.py", f"# {number}\n" + BROKEN)
    started = project / "started"
    environment = with_rule(project, f"pathlib.Path({str(started)!r}).touch(), time.sleep(0.05)")
    process = subprocess.Popen(
        [sys.executable, "-m", "mha_lint", "--no-cache"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # A test run in the background of a shell ignores SIGINT, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not started.exists():
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(1.0)  # by now, processes were started for the rest
    assert process.poll() is None, "too few files for this machine"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err == "interrupted: each file is either as it was or wholly fixed\n"


def test_ctrl_c_waits_for_no_file_that_is_being_linted(project: Path) -> None:
    for number in range(8):
        write(f"m{number}.py")
    environment = with_rule(project, "pathlib.Path('begun').touch(), time.sleep(300)")
    script = (
        "from mha_lint import cli, runner\n"
        "runner._lint_fresh = lambda items, configuration, plan, cache: "
        "runner._lint_in_processes(items, configuration, cache, 2)\n"
        "import sys; sys.argv = ['mha-lint', '--no-cache', '.']; cli.entry()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 60
    while not Path("begun").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "interrupted: each file is either as it was or wholly fixed\n")


@pytest.mark.parametrize("arguments", ["broken.py", "plain.py", "--list-rules", "--explain MHA001", "--version"])
def test_a_closed_stdout_is_one_line_and_2(arguments: str) -> None:
    write("broken.py")
    write("plain.py", "x = 1\n")
    script = f'"{sys.executable}" -m mha_lint {arguments} >&-'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "error: stdout: the report cannot be written: bad file descriptor\n")


def test_nothing_is_missed_on_a_closed_stdout_when_nothing_is_printed() -> None:
    write("broken.py")
    for arguments, redirection, status in (("-qq broken.py", ">&-", 1), ("-qq broken.py", "2>&- <&-", 1)):
        script = f'"{sys.executable}" -m mha_lint --no-cache {arguments} {redirection}'
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


def test_a_closed_stderr_takes_no_file_of_the_user() -> None:
    write("broken.py")
    script = f'"{sys.executable}" -m mha_lint --no-cache broken.py gone.py -v 2>&-'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.returncode == 2
    assert "MHA001" in done.stdout
    assert Path("broken.py").read_text() == BROKEN


def test_a_working_directory_that_is_gone_is_one_line(project: Path) -> None:
    (project / "gone").mkdir()
    subprocess.run([sys.executable, "-m", "mha_lint", "--version"], check=True)
    script = f'cd gone && rmdir ../gone && "{sys.executable}" -c "from mha_lint.cli import entry; entry()"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "error: the working directory does not exist any more\n")


def test_ctrl_c_that_comes_out_as_an_error_of_a_clean_up_is_still_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    def lint(*arguments: object, **options: object) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            {}.pop("a node that was never entered")

    monkeypatch.setattr("mha_lint.linter.lint", lint)
    write("broken.py", BROKEN)
    assert main(["--no-cache"]) == 130
