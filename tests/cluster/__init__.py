"""Tests of clusters and of object stores that take minutes: `pytest -m cluster`."""
