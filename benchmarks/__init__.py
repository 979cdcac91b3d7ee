"""Benchmarks: each compares mmpipe with the libraries underneath, in one run on one machine."""
