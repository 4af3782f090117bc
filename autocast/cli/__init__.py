"""The command line: parses words, imports no torch."""
