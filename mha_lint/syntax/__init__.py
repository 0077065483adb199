"""Facts about a text: its syntax tree, what names refer to, where nodes stand."""
