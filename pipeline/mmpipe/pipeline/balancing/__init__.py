"""Balancing of unlabelled data: pseudo-labels and equal draws of each class."""
