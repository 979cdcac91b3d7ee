"""Corpus readers, one file a corpus, with the helpers of a corpus beside it."""
