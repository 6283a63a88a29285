"""Names that were replaced, and words that are banned as identifiers."""
