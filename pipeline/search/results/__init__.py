"""The results of a search: analysis, importance, the comparison of the best two, files."""
