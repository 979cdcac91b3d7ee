"""Readers of text files, tables, transcripts and TextGrids, which do not depend on any corpus."""
