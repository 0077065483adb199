"""The extension for VS Code: it is packaged, and knows what the server knows."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import get_args

import pytest

import mha_lint
from mha_lint.lsp.actions import APPLY_ALL, VALIDATE
from mha_lint.lsp.options import Validate, parse_options

FOLDER = Path(__file__).parents[2] / "editors" / "vscode"
PACKAGE = json.loads((FOLDER / "package.json").read_text())


def test_its_settings_are_those_of_the_server() -> None:
    properties = PACKAGE["contributes"]["configuration"]["properties"]
    assert tuple(properties["mha-lint.validate"]["enum"]) == get_args(Validate)
    defaults = {name.removeprefix("mha-lint."): each["default"] for name, each in properties.items()}
    assert parse_options(defaults) == parse_options({})
    script = (FOLDER / "extension.js").read_text()
    assert f'"{VALIDATE}"' in script
    assert f'"{APPLY_ALL}"' in script


def test_it_is_of_the_same_release() -> None:
    assert PACKAGE["version"] == mha_lint.__version__


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None, reason="needs node")
def test_it_is_packaged(tmp_path: Path) -> None:
    for name in ("package.json", "extension.js", "README.md", "LICENSE", ".vscodeignore"):
        shutil.copy(FOLDER / name, tmp_path)
    install = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    if install.returncode != 0:
        pytest.skip("the npm registry is not reached")
    made = subprocess.run(
        ["npx", "@vscode/vsce", "package", "--no-git-tag-version"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    (package,) = tmp_path.glob("*.vsix")
    with zipfile.ZipFile(package) as archive:
        names = archive.namelist()
    assert "extension/extension.js" in names
    assert any(name.startswith("extension/node_modules/vscode-languageclient/") for name in names)
