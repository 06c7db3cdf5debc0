"""One recording's answer as files: the page, tables, subtitles, annotations, explained faces."""
