"""Corpora to manifests: one Parquet table of utterances, with media named relative to the corpus root."""
