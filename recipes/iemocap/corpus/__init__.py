"""An IEMOCAP release as it is passed on, its labels and its protocols."""
