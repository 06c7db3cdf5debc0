"""Settings, networks, inputs, targets and results of trainings."""
