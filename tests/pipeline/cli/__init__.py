"""The command line: its options, output and answers to bad input."""
