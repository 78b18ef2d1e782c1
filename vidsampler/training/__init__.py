"""Training: losses, and what runs them."""
