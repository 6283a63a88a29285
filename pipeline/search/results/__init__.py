"""The results of a search: analysis of its trials, comparison of the best two, and the files that it writes."""
