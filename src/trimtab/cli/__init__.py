"""The command line: parses and prints. What a verb does is a function of trimtab.api."""
