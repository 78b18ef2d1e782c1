"""Losses, one a file. Each has its source in the docstring."""
