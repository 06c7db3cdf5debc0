"""Write answers for people: HTML report, tables, subtitles, annotation files and face maps."""
