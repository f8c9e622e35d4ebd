"""Finding what nobody named: suspicious training pairs."""
