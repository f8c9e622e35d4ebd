"""The canvas on which a trigger is painted, and its toolbars."""
