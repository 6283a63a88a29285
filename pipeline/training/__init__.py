"""What trains a network: the LightningModule, its callbacks, checkpoints and schedule, devices and processes."""
