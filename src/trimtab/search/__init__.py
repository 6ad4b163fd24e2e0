"""Finds learning rate, rank and friends: many trials at once over one frozen base."""
