"""What `python -m matting evaluate` is made of.

`sources` gives clips whose mattes are known, `methods` matte them, `scores` says how well, and
`clip` brings these together for the loop of `nunif.evaluation.judging`.
"""
