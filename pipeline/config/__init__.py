"""The configuration: what a user may choose (options, experiments), composing it, and building objects from it.

Import the modules one by one: only some of them need Hydra, which takes 0.1 s to import.
"""
