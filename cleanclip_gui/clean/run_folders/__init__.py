"""What lies in the folders of runs: their records, read beside the window."""
