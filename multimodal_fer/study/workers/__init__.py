"""Who works off the files of a study: processes of this machine, or a cluster."""
