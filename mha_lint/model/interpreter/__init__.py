"""The interpreter: runs function bodies over abstract values, one state for each path that differs."""
