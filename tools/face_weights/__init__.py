"""The fast CPU trainer of the shipped face expression weights."""
