"""The language server: findings, fixes and shapes in an editor, by the protocol LSP 3.17 on stdin and stdout."""
