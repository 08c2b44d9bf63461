"""Takes a film apart and puts it together again: who is in it is found, cut out, and what stood
behind is filled."""
