"""Samplers: most choose K of N candidate frames without training; gate and topk learn to."""
