"""Checkpoints of the published systems in, CLIP weights for other tools out."""
