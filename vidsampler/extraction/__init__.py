"""What `extract` does with one video, and what it is told. No torch in here."""
