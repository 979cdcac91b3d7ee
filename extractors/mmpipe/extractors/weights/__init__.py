"""Weight files: those that ship with mmpipe, and checkpoints of model hubs."""
