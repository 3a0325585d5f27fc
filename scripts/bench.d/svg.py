"""Bar charts as SVG, by hand: groups of bars over a logarithmic axis. Needs nothing installed."""
import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 58, 34
COLOURS = ["#1b6ca8", "#8ab6d6", "#4fa3c7", "#c8553d", "#e8a598", "#4f772d", "#a7c48f", "#7a5195", "#bc8f3f", "#9a9a9a"]


def shown(value):
    """A number of three digits, with the suffix of its size."""
    if math.isinf(value):
        return "∞"
    for limit, suffix in [(1e9, "G"), (1e6, "M"), (1e3, "k")]:
        if abs(value) >= limit:
            return f"{value / limit:.3g}{suffix}"
    return f"{value:.3g}"


def _decades(values):
    """Whole powers of ten around all values, at least one decade."""
    low = math.floor(math.log10(min(values)) + 1e-9)
    high = math.ceil(math.log10(max(values)) - 1e-9)
    return low, max(high, low + 1)


def _text(x, y, words, anchor="start", size=11, extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"{extra}>{escape(words)}</text>'


def _legend(names):
    parts, x = [], LEFT
    for index, name in enumerate(names):
        parts.append(f'<rect x="{x}" y="30" width="10" height="10" fill="{COLOURS[index % len(COLOURS)]}"/>')
        parts.append(_text(x + 14, 39, name, size=10))
        x += 22 + 6 * len(name)
    return parts


def bars(title, groups, names, values):
    """values[group][name] is a number, or None where there is none (failed: an x). Zero has no bar."""
    numbers = [v for row in values.values() for v in row.values() if v]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="sans-serif" fill="#222">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        _text(LEFT, 18, title, size=13, extra=' font-weight="bold"'), *_legend(names)]
    if not numbers:
        return "\n".join([*parts, _text(LEFT, HEIGHT / 2, "nothing measured"), "</svg>"]) + "\n"
    low, high = _decades(numbers)
    bottom = HEIGHT - BOTTOM

    def height(value):
        return max((math.log10(value) - low) / (high - low), 0.0) * (bottom - TOP)

    for power in range(low, high + 1):
        y = bottom - height(10.0**power)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 6, y + 4, shown(10.0**power), "end", 10))
    room = (WIDTH - LEFT - RIGHT) / len(groups)
    width = room * 0.84 / len(names)
    for place, group in enumerate(groups):
        start = LEFT + place * room + room * 0.08
        parts.append(_text(start + room * 0.42, HEIGHT - 12, str(group), "middle"))
        for index, name in enumerate(names):
            if name not in values[group]:
                continue
            value, x = values[group][name], start + index * width
            if value is None:
                parts.append(_text(x + width / 2, bottom - 3, "x", "middle", 11, ' fill="#b00"'))
                continue
            tall = height(value) if value else 0.0
            parts.append(
                f'<rect x="{x:.1f}" y="{bottom - tall:.1f}" width="{width * 0.92:.1f}" height="{max(tall, 0.5):.1f}" '
                f'fill="{COLOURS[index % len(COLOURS)]}"><title>{escape(name)}, {escape(str(group))}: '
                f"{shown(value)}</title></rect>")
    parts.append(f'<path d="M{LEFT} {bottom}H{WIDTH - RIGHT}" stroke="#222"/>')
    return "\n".join([*parts, "</svg>"]) + "\n"
