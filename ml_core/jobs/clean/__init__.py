"""Cleaning: the run, what it writes, and what it will cost."""
