"""Files of a run: its directory, outcome.json, signals.json and pictures.npz, written and read."""
