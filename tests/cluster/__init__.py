"""Tests of clusters and of object stores; those that take minutes are run by `make test-cluster`."""
