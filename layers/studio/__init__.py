"""A page in the browser: point at something in a film, watch its mask, take it out, download."""
