"""Samplers that need no training: each chooses K of N candidate frames, one file each."""
