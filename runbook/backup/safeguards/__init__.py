"""Is the last line of defence safe? What a program can look at, and what only a person can tell."""
