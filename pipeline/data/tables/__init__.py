"""Tables in text files: reading their cells, and turning columns into numbers, labels and targets."""
