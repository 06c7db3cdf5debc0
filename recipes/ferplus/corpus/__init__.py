"""FER2013 and FER+ as they are passed on."""
