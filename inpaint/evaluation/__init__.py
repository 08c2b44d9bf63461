"""What `python -m inpaint evaluate` is made of.

`sources` gives clips (out of `films` and of records), `methods` fills them, `scores` says how well,
and `clip` brings these together for the report.
"""
