"""Heads: from frame features, and perhaps a text, to similarity."""
