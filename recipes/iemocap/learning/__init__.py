"""What trainings on IEMOCAP are set up with."""
