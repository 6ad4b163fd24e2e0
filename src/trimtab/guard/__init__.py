"""Watches a run, finds out by experiment why it goes wrong, and puts it right."""
