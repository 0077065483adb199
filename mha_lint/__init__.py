"""mha-lint: a linter and autofixer for PyTorch attention code whose fixes are validated by execution."""

__version__ = "0.1.0"
