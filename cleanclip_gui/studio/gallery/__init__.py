"""The gallery of evaluation images."""
