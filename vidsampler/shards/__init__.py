"""Shards: WebDataset tars with a commit file each. No torch in here."""

from vidsampler.shards.reader import Reader, Sample

__all__ = ["Reader", "Sample"]
