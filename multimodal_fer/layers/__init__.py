"""What networks of several modalities are built of."""
