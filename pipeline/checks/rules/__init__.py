"""One rule per file, pure: signals -> Finding | None. A configuration names each by its full path."""
