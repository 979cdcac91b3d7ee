"""The feature store: reading, planning, verifying, exporting and summarising it."""
