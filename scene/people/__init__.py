"""People that are known exactly: articulated bodies that walk before a film, with their alpha."""
