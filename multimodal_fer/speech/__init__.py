"""Where somebody speaks, which words, and the utterances that get an answer."""
