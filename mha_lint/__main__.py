"""``python -m mha_lint``."""

from mha_lint.shortcut import entry

if __name__ == "__main__":
    entry()
