"""The fast CPU trainer of the shipped face expression weights: `python -m tools.face_weights`."""
