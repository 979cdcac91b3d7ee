"""Text extractors: words in, token embeddings out."""
