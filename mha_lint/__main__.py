"""``python -m mha_lint``."""

from mha_lint.cli import entry

if __name__ == "__main__":
    entry()
