"""Widgets that at least two stations use, or the window and a station; none knows either."""
