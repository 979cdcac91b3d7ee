"""Studies: questions answered once, with the commands that answer them again."""
