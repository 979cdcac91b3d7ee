"""What the rest of mmpipe is built on: errors, statuses, files, sealed Parquet, registries, text."""
