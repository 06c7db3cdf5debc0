"""The IEMOCAP release: its files, turns, labels and evaluation protocols."""
