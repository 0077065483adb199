"""The record of what was executed: its store, its journal, the files it depends on."""
