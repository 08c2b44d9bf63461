"""The layers of a film: what they are, and how they lie on the disk."""
