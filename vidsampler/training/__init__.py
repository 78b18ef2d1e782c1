<<<<<<< HEAD
"""Training: losses, and what runs them."""
=======
"""Training: losses and what belongs to them."""
>>>>>>> heads
