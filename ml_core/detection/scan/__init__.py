"""Is there a trigger that nobody named? Searches for one, always beside a clean reference.

`records` and `verdict` are free of torch; `probes`, `patches` and `overlays` hold one way to
search each, and `sides` what is measured on both models as they are.
"""
