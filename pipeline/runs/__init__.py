"""What a run leaves, written and read: its directory, the two records in it, and arrays to look at."""
