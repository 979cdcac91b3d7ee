"""The experiments of the paper: its tables and figures as grids of runs."""
