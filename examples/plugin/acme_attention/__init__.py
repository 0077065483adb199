"""Rules of our house for attention code."""
