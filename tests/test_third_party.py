"""A rule and a fixer of somebody else's package: they are found, run and cached as ours are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from samples import BROKEN

RULE = '''\
from pathlib import Path

from mha_lint.rules import Hit, Rule
from others.words import MESSAGE


class Viewed(Rule):
    """## What it does

    Flags each view of a tensor.
    """

    code, name, severity, why = "MHX001", "viewed", "info", "It is a view."
    applicability, relation = "safe", "equivalent"

    def check(self, model, places):
        with open("checked.txt", "a") as log:
            print(model.module.text.partition("\\n")[0], file=log)
        for node, seen in model.views.items():
            yield Hit(node, node, MESSAGE, seen[0].symbol)
'''
FIXER = """\
from mha_lint.findings import Edit, Fix


def fix(hit, context):
    start = context.places.start(hit.first)
    return Fix("safe", "equivalent", "Put it in parentheses", (Edit(start, start, ""),))
"""
POINTS = "[mha_lint.rules]\nMHX001 = others.rule:Viewed\n[mha_lint.fixers]\nMHX001 = others.fixer:fix\n"
CLEAN = (
    "# clean\nimport torch\n\n\ndef attend(q, k, v):\n"
    "    return torch.nn.functional.scaled_dot_product_attention(q, k, v)\n"
)
SELECTED = ("--select", "MHX001", "--output-format", "concise", "-q")


class Others:
    """The package of others, beside the folder of a project, which is the working directory."""

    def __init__(self, folder: Path) -> None:
        self.package = folder / "site/others"
        self.declared = folder / "site/others-1.dist-info"
        self.project = folder / "project"
        for place in (self.package, self.declared, self.project):
            place.mkdir(parents=True)
        (self.package / "__init__.py").touch()
        (self.package / "rule.py").write_text(RULE)
        (self.package / "words.py").write_text('MESSAGE = "a view"\n')
        (self.package / "fixer.py").write_text(FIXER)
        self.declare("others", "1", POINTS)

    def declare(self, name: str, version: str, points: str) -> None:
        folder = self.declared.with_name(f"{name}-1.dist-info")
        folder.mkdir(exist_ok=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (folder / "entry_points.txt").write_text(points)

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(self.package.parent), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=self.project, env=environment, capture_output=True, text=True)

    def lint(self, *arguments: str) -> str:
        """What the command prints; it must not fail."""
        done = self.python("-m", "mha_lint", *arguments)
        assert done.returncode in (0, 1) and not done.stderr, done.stdout + done.stderr
        return done.stdout

    def refused(self, *arguments: str) -> str:
        done = self.python("-m", "mha_lint", *arguments)
        assert done.returncode == 2 and "Traceback" not in done.stderr, done.stdout + done.stderr
        return done.stderr

    def checked(self) -> list[str]:
        """The first lines of the files that the rule has looked at since it was asked last."""
        log = self.project / "checked.txt"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines


@pytest.fixture
def others(tmp_path: Path) -> Others:
    made = Others(tmp_path)
    (made.project / "broken.py").write_text("# broken\n" + BROKEN)
    (made.project / "clean.py").write_text(CLEAN)
    (made.project / "plain.py").write_text("# plain\nimport torch\n\nprint(torch.zeros(3))\n")
    return made


def test_its_rule_runs_by_default_beside_ours_and_offers_its_fix(others: Others) -> None:
    printed = others.lint("--output-format", "concise", "-q")
    assert "MHX001 [*] a view\n" in printed
    assert "MHA001 [*] " in printed
    assert "MHX001  viewed" in others.lint("--list-rules")
    assert others.lint("--explain", "viewed").startswith(
        "# MHX001 viewed\n\n**info** · fix: safe, relation *equivalent*\n\n## What it does\n"
    )


def test_a_file_is_looked_at_once_and_only_if_it_is_about_attention(others: Others) -> None:
    others.lint(*SELECTED)
    assert sorted(others.checked()) == ["# broken", "# clean"]


def test_a_clean_file_costs_no_more_than_with_our_rules_alone(others: Others) -> None:
    script = (
        "import sys\nfrom mha_lint.cli import main\nassert main(['--no-cache', '-q', 'clean.py']) == 0\n"
        "assert 'libcst' not in sys.modules and 'others.rule' in sys.modules\n"
    )
    done = others.python("-c", script)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_it_found_is_remembered(others: Others) -> None:
    first = others.lint(*SELECTED)
    assert others.checked()
    assert others.lint(*SELECTED) == first != ""
    assert others.checked() == []


@pytest.mark.parametrize("name", ["rule.py", "words.py", "fixer.py", "added.py"])
def test_a_change_of_a_file_of_its_package_is_seen(others: Others, name: str) -> None:
    others.lint(*SELECTED)
    others.checked()
    file = others.package / name
    newest = max(each.stat().st_mtime_ns for each in others.package.iterdir())
    old = file.read_text() if file.exists() else ""
    file.write_text(old.replace("a view", "one view") + "# changed\n")
    os.utime(file, ns=(newest - 1, newest - 1))  # as if an archive had been unpacked
    printed = others.lint(*SELECTED)
    assert sorted(others.checked()) == ["# broken", "# clean"]
    assert ("one view" in printed) == (name == "words.py")


def test_another_version_of_its_package_is_seen(others: Others) -> None:
    others.lint(*SELECTED)
    others.checked()
    others.declare("others", "2", POINTS)
    others.lint(*SELECTED)
    assert sorted(others.checked()) == ["# broken", "# clean"]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("rule.py", "import not_there\n", "MHX001: others.rule:Viewed of others 1 can't be imported (ModuleNotFound"),
        ("rule.py", "class Viewed(:\n", "MHX001: others.rule:Viewed of others 1 can't be imported (SyntaxError"),
        ("rule.py", "Viewed = 1\n", "MHX001: others.rule:Viewed of others 1 is no rule whose code is MHX001"),
        ("rule.py", RULE.replace('"MHX001"', '"MHX002"'), "others 1 is no rule whose code is MHX001"),
        ("fixer.py", "import not_there\n", "MHX001: others.fixer:fix of others 1 can't be imported (ModuleNotFound"),
    ],
)
def test_a_rule_or_fixer_that_is_broken_is_told_of_its_own_package_and_costs_the_other_rules_nothing(
    others: Others, name: str, text: str, told: str
) -> None:
    (others.package / name).write_text(text)
    error = others.refused("broken.py")
    assert error.startswith("error: broken.py: ") and told in error
    assert "please report it" not in error, "it is no bug of ours"
    assert "MHA001 [*] " in others.lint("--select", "MHA001", "--output-format", "concise", "-q", "broken.py")


def test_two_packages_with_one_code_are_told(others: Others) -> None:
    others.declare("more", "3", POINTS)
    error = others.refused("broken.py")
    assert "MHX001 is declared under mha_lint.rules by more 3 and others 1: uninstall one of them\n" in error
    assert "Traceback" not in others.python("-m", "mha_lint", "--list-rules").stderr


def test_flake8_tells_a_broken_rule_in_one_line_and_shows_what_a_sound_one_finds(others: Others) -> None:
    flake8 = ("-m", "flake8", "--extend-select", "MHX", "broken.py")
    shown = others.python(*flake8).stdout
    assert "MHX001 a view" in shown and "MHA001 " in shown
    assert "MHX" not in others.python("-m", "flake8", "broken.py").stdout, (
        "a code that no plugin of flake8 has declared"
    )
    (others.package / "rule.py").write_text("import not_there\n")
    done = others.python(*flake8)
    assert done.returncode == 1
    assert "mha-lint: MHX001: others.rule:Viewed of others 1 can't be imported" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
