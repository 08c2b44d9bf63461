"""Character: a person of one picture, moved as another one moves, in the scene of a film.

The networks are diffusers'; without the extra [character] nothing here runs but the help.
"""
