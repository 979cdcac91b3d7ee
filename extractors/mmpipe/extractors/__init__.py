"""Extractors: arrays in, arrays out. They do not open files and do not know a corpus."""
