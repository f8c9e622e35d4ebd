"""The Clean station: can the backdoor be removed?"""
