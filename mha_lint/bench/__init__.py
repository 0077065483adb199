"""``--bench``: each validated fix that leaves results as they were, timed before and after.

Nothing here is imported without ``--bench``. What is measured runs in the children of :mod:`mha_lint.validation`.
"""
