"""Pictures for the tests, made without the product."""


def voc_palette() -> list[int]:
    """The palette of PASCAL VOC and DAVIS, 256 times red, green, blue: each bit of an index goes to
    a colour in turn."""
    palette = []
    for index in range(256):
        colour = [0, 0, 0]
        for place in range(8):
            colour[place % 3] += (index >> place & 1) * 2 ** (7 - place // 3)
        palette += colour
    return palette
