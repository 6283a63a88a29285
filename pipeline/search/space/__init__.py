"""The space of a search: parameters, samples drawn in advance, the configuration of each trial, refined ranges."""
