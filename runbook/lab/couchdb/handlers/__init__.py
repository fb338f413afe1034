"""What each address answers, one file a subject."""
