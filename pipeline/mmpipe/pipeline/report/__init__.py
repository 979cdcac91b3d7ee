"""The report: stores, a balanced list and runs on one self-contained HTML page."""
