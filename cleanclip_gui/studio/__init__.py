"""The Studio station: what does a trigger do?"""
