"""Reports of a search: in the terminal while it runs, and report.html."""
