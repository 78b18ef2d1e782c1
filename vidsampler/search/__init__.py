"""Search in one's own videos: an index of vectors on the disk, and exact answers from it."""
