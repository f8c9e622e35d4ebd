"""The audit of training pairs."""
