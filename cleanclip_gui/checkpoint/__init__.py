"""The Checkpoint station: what is this file?"""
