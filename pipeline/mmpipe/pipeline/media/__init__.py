"""Media files: opened, decoded, hashed, checked by their headers, repaired and cut."""
