"""Arrays in, arrays out: extractors open no file and know no corpus."""
