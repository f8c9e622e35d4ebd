"""Image sets in the files that their authors publish, read from disk; nothing is downloaded."""
