"""The queue, and earlier runs."""
