"""Which images, classes and prompt templates are in use."""
