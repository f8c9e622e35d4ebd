"""Is there a trigger that nobody named? Searches for one, always beside a clean reference.

`records` and `verdict` are free of torch; each of the others holds one way to search.
"""
