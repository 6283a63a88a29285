"""A trained network on inputs that it has not seen: reading them as the training did, predicting, exporting."""
