"""Does a bundle say what its evidence gives? Level by level, without believing any of it.

Levels 0 and 1 need the bundle alone and no torch. What also needs checkpoints, pictures or
training data is in `ml_core.jobs.verify.run`.
"""
