"""``--executor slurm``: validation on the nodes of a cluster, through submitit.

:mod:`mha_lint.cluster.executor` runs where the command runs, :mod:`mha_lint.cluster.node` on a node. What goes between
them is JSON (:mod:`mha_lint.cluster.messages`); the files of the project lie on a file system that both share.
"""
