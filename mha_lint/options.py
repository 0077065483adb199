"""The options of the command line."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import mha_lint
from mha_lint.findings import SEVERITIES
from mha_lint.report.formats import FORMATS
from mha_lint.settings import Also, TargetVersion

SHELLS = ("bash", "zsh", "tcsh")
DEVICES = ("auto", "cpu", "cuda")
EXECUTORS = ("local", "slurm")
_LONGEST = 86_400  # seconds


def parser() -> argparse.ArgumentParser:
    """Everything that ``mha-lint --help`` shows."""
    made = argparse.ArgumentParser(
        prog="mha-lint",
        description="Lint PyTorch attention code, and fix it: each fix is validated by executing the module before and "
        "after it, and written only when nothing else changed.",
        epilog="Exit status: 0 when nothing is left to report, 1 when findings remain, 2 when the run itself failed.",
        usage="mha-lint [OPTIONS] [PATHS ...]",
        add_help=False,
        allow_abbrev=False,
    )
    made.add_argument(
        "paths", nargs="*", type=Path, metavar="PATHS", help="files or folders to lint, or - for stdin (default: .)"
    )
    _fixing(made.add_argument_group("Fixing (this executes the modules it fixes; linting alone never does)"))
    _benching(made.add_argument_group("Timing (under --fix or --diff; nothing else is executed meanwhile)"))
    _probing(made.add_argument_group("Probing (this executes the module; --device narrows where)"))
    _selection(made.add_argument_group("Rule selection"))
    _files(made.add_argument_group("File selection"))
    _configuration(made.add_argument_group("Configuration"))
    _adoption(made.add_argument_group("Adoption (a project that has findings already)"))
    _output(made.add_argument_group("Output"))
    _exit(made.add_argument_group("Exit status"))
    _miscellaneous(made.add_argument_group("Miscellaneous"))
    return made


def _fixing(group: argparse._ArgumentGroup) -> None:
    _switch(group, "--fix", "apply the safe fixes that validation lets through")
    group.add_argument("--diff", action="store_true", help="validate as --fix does, show a diff, write nothing")
    group.add_argument(
        "--verify",
        action="store_true",
        help="execute every finding and write nothing: validate its fix, or show the code wrong where there is none",
    )
    _switch(group, "--unsafe-fixes", "also try fixes that change the result on purpose")
    _switch(group, "--show-fixes", "list, at the end, what was fixed in which file")
    group.add_argument(
        "--fixable", type=_codes, action="extend", metavar="RULES", help="try fixes of these rules alone"
    )
    group.add_argument(
        "--extend-fixable", type=_codes, action="extend", metavar="RULES", help="try fixes of these rules as well"
    )
    group.add_argument("--unfixable", type=_codes, action="extend", metavar="RULES", help="try no fix of these rules")
    group.add_argument(
        "--device",
        type=_devices,
        default=("auto",),
        metavar="DEVICES",
        help="where to execute: auto (CPU, and CUDA when present), cpu, cuda; separated by commas (default: auto)",
    )
    group.add_argument(
        "--require-device",
        type=_required_devices,
        default=(),
        metavar="DEVICES",
        help="fail, and write nothing, where one of these is absent",
    )
    group.add_argument(
        "--also",
        type=_also,
        metavar="WHAT",
        help="refuse fixes that break what works before them: compile (torch.compile with one graph), export",
    )
    group.add_argument(
        "--timeout",
        type=_seconds,
        default=120.0,
        metavar="SECONDS",
        help="how long the import of a file, and then each fix in it, may take to be executed (default: 120)",
    )
    group.add_argument(
        "--executor",
        choices=EXECUTORS,
        default="local",
        help="what executes: this machine, or the nodes of a Slurm cluster (default: local)",
    )
    group.add_argument(
        "--executor-option",
        type=_option,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="what Slurm is told: partition, gpus_per_node, timeout_min, …; may be given several times",
    )
    group.add_argument(
        "--evidence", type=Path, metavar="FILE", help="write every trial of this run to a JSON file, for --replay"
    )
    group.add_argument(
        "--replay", type=Path, metavar="FILE", help="execute the trials of an --evidence file again and exit"
    )


def _switch(group: argparse._ArgumentGroup, option: str, meaning: str) -> None:
    """An option with its opposite, ``--no-…``; where neither is given, the settings decide."""
    group.add_argument(option, action=argparse.BooleanOptionalAction, default=None, help=meaning)


def _benching(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--bench",
        action="store_true",
        help="time each validated fix that is equivalent, before and after: forward, training, peak memory",
    )
    group.add_argument(
        "--bench-only-if-faster",
        action="store_true",
        help="do not write a fix that is faster nowhere, or slower anywhere; implies --bench",
    )
    group.add_argument(
        "--bench-shapes",
        type=_shapes,
        default=(),
        metavar="SHAPES",
        help="sizes to time at, as 8x1024x768 (batch, tokens and, where the code does not say it, width); separated by "
        "commas (default: three presets for each device)",
    )
    group.add_argument(
        "--bench-compile",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="time torch.compiled code as well (default: on cuda, where compilation takes seconds and no minutes)",
    )


def _probing(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--probe",
        metavar="MODULE:CLASS",
        help="say which properties of attention hold in a class or function (pkg.mod:Class or path/file.py:Class): "
        "causality, weights that add up to one, …, each violation with a counterexample; and exit",
    )


def _selection(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--select", type=_codes, action="extend", metavar="RULES", help="run these rules alone (codes, prefixes, names)"
    )
    group.add_argument("--extend-select", type=_codes, action="extend", metavar="RULES", help="run these rules as well")
    group.add_argument("--ignore", type=_codes, action="extend", metavar="RULES", help="leave these rules out")
    for option, which in (
        ("--per-file-ignores", "leave rules out in some files"),
        ("--extend-per-file-ignores", "more"),
    ):
        group.add_argument(
            option,
            type=_ignores,
            action="extend",
            metavar="GLOB:RULE",
            help=f"{which}, as 'tests/*:MHA2'; separated by commas",
        )
    group.add_argument("--list-rules", action="store_true", help="list all rules and exit")
    group.add_argument("--explain", metavar="RULE", help="print the page of a rule and exit")


def _configuration(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="FILE|KEY=VALUE",
        help="read the settings of all files from this pyproject.toml or mha-lint.toml; or set a key, as in TOML: "
        "--config 'view-fix = \"reshape\"'",
    )
    group.add_argument("--isolated", action="store_true", help="read no settings files")
    group.add_argument(
        "--target-version",
        choices=get_args(TargetVersion),
        metavar="VERSION",
        help="the oldest Python that the code runs on, as py310: fixes that need a newer one are withheld",
    )
    group.add_argument(
        "--target-torch", type=_torch, metavar="VERSION", help="the oldest torch that the code runs on, as 2.1"
    )
    group.add_argument("--show-settings", action="store_true", help="print the settings of the first file and exit")


def _files(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--exclude", type=_globs, action="extend", metavar="GLOBS", help="pass by these files and folders alone"
    )
    group.add_argument(
        "--extend-exclude",
        type=_globs,
        action="extend",
        metavar="GLOBS",
        help="pass by these files and folders as well",
    )
    _switch(group, "--respect-gitignore", "pass by what a .gitignore names (default: yes)")
    _switch(group, "--force-exclude", "pass by what is excluded even where it is given by name")
    group.add_argument("--show-files", action="store_true", help="list the files that would be linted and exit")
    group.add_argument(
        "--stdin-filename", type=Path, metavar="FILE", help="the name of the file that is read from stdin"
    )


def _adoption(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--add-noqa", action="store_true", help="write `# noqa: CODES` where findings are, and report none of them"
    )
    group.add_argument("--reason", metavar="TEXT", help="words to write behind the codes of --add-noqa")
    group.add_argument(
        "--baseline",
        metavar="FILE",
        help="do not report the findings that this file holds, as --write-baseline wrote it",
    )
    group.add_argument(
        "--write-baseline",
        type=Path,
        metavar="FILE",
        help="write all findings to a file for --baseline, and exit with 0",
    )
    group.add_argument(
        "--diff-base",
        metavar="REV",
        help="report only findings on lines that have changed since this revision of git, and on those of new files",
    )


def _output(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--output-format", choices=tuple(FORMATS), help="how to report (default: full)")
    group.add_argument("--output-file", type=Path, metavar="FILE", help="write the report to a file, not to stdout")
    group.add_argument("--statistics", action="store_true", help="show how many findings each rule has")
    group.add_argument("-q", "--quiet", action="count", default=0, help="print findings only; twice: print nothing")
    group.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="when to colour (default: auto: on terminals, unless NO_COLOR or FORCE_COLOR say otherwise)",
    )
    group.add_argument("-v", "--verbose", action="store_true", help="say what was read and why something failed")


def _exit(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--exit-zero", action="store_true", help="exit with 0 even when findings remain")
    group.add_argument(
        "--exit-severity",
        choices=SEVERITIES,
        help="exit with 1 only when findings of this severity or a graver one remain (default: info)",
    )
    group.add_argument("--exit-non-zero-on-fix", action="store_true", help="exit with 1 also when all was fixed")


def _miscellaneous(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-j",
        "--jobs",
        type=_jobs,
        default=_processors(),
        metavar="N",
        help="processes to lint and validate in (default: all cores)",
    )
    group.add_argument(
        "--debug-model", type=Path, metavar="FILE", help="print what is known of each tensor of a file and exit"
    )
    group.add_argument("-n", "--no-cache", action="store_true", help="neither read nor write .mha_lint_cache")
    group.add_argument(
        "--cache-dir", type=Path, metavar="FOLDER", help="where .mha_lint_cache lies (default: beside the settings)"
    )
    group.add_argument("-w", "--watch", action="store_true", help="lint again whenever a file changes")
    group.add_argument(
        "--print-completion", choices=SHELLS, metavar="SHELL", help="print what completes options in bash, zsh or tcsh"
    )
    group.add_argument("--version", action="version", version=f"mha-lint {mha_lint.__version__}")
    group.add_argument("-h", "--help", action="help", help="show this help and exit")


def _split(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _codes(value: str) -> list[str]:
    codes = _split(value)
    if not codes:
        raise argparse.ArgumentTypeError("no rule named")
    return codes


def _globs(value: str) -> list[str]:
    globs = _split(value)
    if not globs:
        raise argparse.ArgumentTypeError("no glob named")
    return globs


def _ignores(value: str) -> list[tuple[str, str]]:
    """Pairs of a glob and a rule."""
    pairs = [part.rpartition(":") for part in _split(value)]
    for glob, _, rule in pairs:
        if not glob or not rule:
            raise argparse.ArgumentTypeError(f"expected GLOB:RULE, as 'tests/*:MHA2', not {value!r}")
    return [(glob.strip(), rule.strip()) for glob, _, rule in pairs]


def _torch(value: str) -> str:
    major, _, minor = value.partition(".")
    if not (major.isdecimal() and minor.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected two numbers as 2.1, not {value!r}")
    return value


def _devices(value: str) -> tuple[str, ...]:
    return _chosen(value, DEVICES, "device")


def _also(value: str) -> tuple[str, ...]:
    return _chosen(value, get_args(Also), "capture")


def _shapes(value: str) -> tuple[tuple[int, ...], ...]:
    from mha_lint.bench.wanted import UnknownShape, parse_shapes

    try:
        return parse_shapes(value)
    except UnknownShape as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _chosen(value: str, known: Sequence[str], what: str) -> tuple[str, ...]:
    chosen = tuple(_split(value))
    for name in chosen:
        if name not in known:
            raise argparse.ArgumentTypeError(f"unknown {what} {name!r} (choose from {', '.join(known)})")
    if not chosen:
        raise argparse.ArgumentTypeError(f"no {what} named")
    return chosen


def _required_devices(value: str) -> tuple[str, ...]:
    devices = _devices(value)
    if "auto" in devices:
        raise argparse.ArgumentTypeError("'auto' cannot be required; name cpu or cuda")
    return devices


def _option(value: str) -> tuple[str, str]:
    key, sign, content = value.partition("=")
    if not key.isidentifier() or not sign:
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, not {value!r}")
    return key, content


def _jobs(value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, not {value!r}")
    return int(value)


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds <= _LONGEST:
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, at most {_LONGEST}, not {value!r}")
    return seconds


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
