"""Reusable widgets; none knows a panel or the main window."""
