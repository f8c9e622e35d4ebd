"""A talk on stage: its steps, the card that leads through them, and what the audience sees."""
