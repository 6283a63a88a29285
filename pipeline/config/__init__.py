"""What a user may choose: conf/ read as text, the words of a command line and recipes composed from it, and what a
configuration may call. Each file is imported by itself, since only some of them need Hydra."""
