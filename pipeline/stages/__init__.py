"""The stages of a run, one per file: `(components, context, earlier outcomes) -> Outcome`.

This file imports nothing, so that a run loads only the stages it has. A configuration names each by its full path.
"""
