"""Extraction: a manifest and its media become a feature store."""
