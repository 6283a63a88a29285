"""The space of a search: parameters, grids, the configuration of each trial, and the ranges of the next round."""
