"""Training: losses and what belongs to them."""
