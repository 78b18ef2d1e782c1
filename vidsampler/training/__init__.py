"""Training: losses, the loader, the loop."""
