"""The search on the terminal and as a page."""
