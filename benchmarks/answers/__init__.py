"""Answers of `analyze` on held-out files."""
