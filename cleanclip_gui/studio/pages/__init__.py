"""Pages of Studio beside the canvas: where the model looks, maps, comparisons."""
