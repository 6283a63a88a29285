"""Everything that trains a network: the LightningModule, devices, schedules, checkpoints, callbacks, several processes."""
