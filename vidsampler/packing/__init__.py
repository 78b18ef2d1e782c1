"""What `shard` does with one sample: frames that are already pictures. No torch in here."""
