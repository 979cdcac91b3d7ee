"""What the rest of mmpipe stands on: errors, statuses, files, sealed Parquet, registries, text."""
