"""Data-parallel training: the workers of one training, and the devices of each."""
