"""Training of the face expression network on FERPlus: `mmpipe train-face`."""
