"""Attention code is modelled here: names, symbolic sizes, memory layout, roles, and an interpreter that finds them."""
