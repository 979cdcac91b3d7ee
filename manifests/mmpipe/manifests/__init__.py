"""Corpora become manifests: one Parquet table of utterances, media named relative to the corpus root."""
