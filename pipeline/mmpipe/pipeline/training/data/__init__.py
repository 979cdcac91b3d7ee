"""Feature stores as arrays that a training reads."""
