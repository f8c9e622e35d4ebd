"""Each method of cleaning: from a batch to features, and from those to named loss parts."""
