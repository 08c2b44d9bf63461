"""What `python -m inpaint evaluate` is made of: clips and holes, methods, scores along time, and
the report."""
