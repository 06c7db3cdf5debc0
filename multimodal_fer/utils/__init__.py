"""Files, devices, worker processes and command lines."""
