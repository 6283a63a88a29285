"""What people see of a run: lines in the terminal, a notebook's output, and HTML pages."""
