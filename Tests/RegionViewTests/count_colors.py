"""Prints how many pixels of a PNG have each colour: count_colors.py FILE #rrggbb..."""
import struct
import sys
import zlib


def pixels(path):
    """The rows of an 8-bit RGB or RGBA picture as bytes, and the bytes of a pixel."""
    data = open(path, "rb").read()
    assert data[:8] == b"\x89PNG\r\n\x1a\n", "no PNG"
    at, body = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        chunk = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, color = struct.unpack(">IIBB", chunk[:10])
            assert depth == 8 and color in (2, 6), "not RGB"
        elif kind == b"IDAT":
            body += chunk
        at += 12 + length
    size = 3 if color == 2 else 4
    stride = width * size
    raw = zlib.decompress(body)
    last = bytearray(stride)
    for row in range(height):
        method = raw[row * (stride + 1)]
        line = bytearray(raw[row * (stride + 1) + 1 : (row + 1) * (stride + 1)])
        for i in range(stride):
            left = line[i - size] if i >= size else 0
            above = last[i]
            corner = last[i - size] if i >= size else 0
            if method == 1:
                line[i] = (line[i] + left) & 255
            elif method == 2:
                line[i] = (line[i] + above) & 255
            elif method == 3:
                line[i] = (line[i] + (left + above) // 2) & 255
            elif method == 4:
                guess = left + above - corner
                near = min((left, above, corner), key=lambda value: abs(guess - value))
                line[i] = (line[i] + near) & 255
        last = line
        yield bytes(line), size


counts = {}
for line, size in pixels(sys.argv[1]):
    for at in range(0, len(line), size):
        color = line[at : at + 3]
        counts[color] = counts.get(color, 0) + 1
for name in sys.argv[2:]:
    print(counts.get(bytes.fromhex(name[1:]), 0))
