"""Run the analyses of a study in processes of this machine or on a Ray cluster."""
