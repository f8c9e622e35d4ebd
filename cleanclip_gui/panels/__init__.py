"""One panel per station."""
