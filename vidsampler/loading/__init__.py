"""Batches from shards: the order of items, decoding, augmentation, montages."""
