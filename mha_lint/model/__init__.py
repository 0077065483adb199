"""What attention code means: names, symbolic sizes, memory layout, roles, and the interpreter that finds them."""
