"""What a run needs of its machine, and whether it is there: `mmpipe doctor` and the image's health check."""
