"""Readers of text files, tables, transcripts and TextGrids. No format knows a corpus."""
