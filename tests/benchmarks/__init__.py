"""Ratios measured in one run, sides interleaved, equal threads; never asserted in the suite."""
