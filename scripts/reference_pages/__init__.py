"""Pages of docs/reference that take more than a few lines to write from the code."""
