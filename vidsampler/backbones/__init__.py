"""Backbones: image-text models that turn frames and captions into features."""
