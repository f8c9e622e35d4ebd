"""The rate finder."""
