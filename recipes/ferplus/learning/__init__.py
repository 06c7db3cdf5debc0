"""What trainings on FER2013 and FER+ are set up with."""
