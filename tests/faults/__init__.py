"""Faults that are really done to a run: kills, full disks, stalls, damaged files."""
