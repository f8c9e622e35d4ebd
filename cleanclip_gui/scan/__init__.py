"""The station that looks for a trigger that nobody named."""
