"""Settings, data augmentation and loading of trainings on FER2013 and FER+."""
