"""Files, devices, processes: nothing here knows of emotions."""
