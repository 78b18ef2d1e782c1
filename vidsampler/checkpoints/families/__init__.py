"""One file for each family of published checkpoints: its key map, and what cannot be equal."""
