"""Clean a CLIP: recipes, losses, methods and one training loop."""
