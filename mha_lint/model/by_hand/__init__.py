"""Attention that is written by hand, read from its syntax: from the product of queries and keys to the last one.

The interpreter tells which softmax makes weights that values are summed by. What is read here is how the code says so:
each statement and expression between the two products, so that one call can take the place of all of them.
"""
