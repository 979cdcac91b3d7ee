"""Corpora of the true sizes, written literally: nothing here imports mmpipe, so the readers have a witness."""
