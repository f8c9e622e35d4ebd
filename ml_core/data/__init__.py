"""Image sets, caption sets, label sets and prompt templates, and the built-in demo."""
