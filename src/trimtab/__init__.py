"""Trimtab fine-tunes language models and keeps the run on course."""

__version__ = "0.1.0"
