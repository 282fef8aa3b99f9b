"""How pictures look: one color and one marker per role through the whole course, and font sizes.

The colors are those of Okabe & Ito 2008, which people with any kind of color vision tell apart.
Figures have a white background, so they read the same in a dark notebook.
"""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

BLACK, GRAY = "#222222", "#767676"
BLUE, ORANGE, GREEN, PINK, SKY, RED = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00",
)  # fmt: skip

COLORS = {
    "teacher": BLUE,
    "student": RED,
    "baseline": GREEN,  # the same student or the same size without the technique
    "random": GRAY,
    "dense": BLACK,  # the original, uncompressed network
    "kept": SKY,
    "pruned": "#C9C9C9",  # masked or removed
    "labels": PINK,
    "accent": ORANGE,  # what a reader should look at
}
# Where a color means nothing but "these differ", a lesson's cell may say the color instead of a role.
ROLE_OF_COLOR = {"blue": "teacher", "orange": "accent", "gray": "random", "green": "baseline"}
MARKERS = {
    "teacher": "s",
    "student": "o",
    "baseline": "D",
    "random": "x",
    "dense": "*",
    "kept": "^",
    "pruned": "v",
    "labels": "P",
    "accent": "h",
}

# Groups of channels are no role: a color means "these go together", the same in all pictures of them.
GROUPS = (ORANGE, BLUE, GREEN, PINK, RED)

INK = BLACK  # text and outlines
FADED = "#5E5E5E"  # text about what is gone: still 4.5 : 1 on the tint of "pruned"
SMALL, NORMAL, LARGE = 10, 11, 14  # points; a figure is shown at its own size
THIN, LINE, BOLD = 0.8, 1.5, 3.5  # line widths in points
WIDTH = 7.2  # inches: 720 pixels at 100 dots per inch, what a notebook shows without shrinking


def look(role: str) -> dict[str, str]:
    """Color and marker of a role, or of a color by name, as keyword arguments of ``ax.plot``.

    Raises ValueError for a role that is not one of `COLORS`.

    Example:
        >>> look("student")
        {'color': '#D55E00', 'marker': 'o'}
    """
    role = ROLE_OF_COLOR.get(role, role)
    if role not in COLORS:
        raise ValueError(f"no role is called {role!r}. Choose one of {', '.join(COLORS)}.")
    return {"color": COLORS[role], "marker": MARKERS[role]}


def tint(color: str, strength: float = 0.25) -> str:
    """A pale version of a color, as a background for text: 0 is white, 1 the color itself.

    Example:
        >>> tint("#000000", 0.2)
        '#cccccc'
    """
    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(color))
    return to_hex((red, green, blue))


def canvas(width: float, height: float) -> Axes:
    """Empty axes for a drawing: they fill a new white figure, and one unit is one inch.

    The origin is the top left corner, and y grows downward, as on a page. The figure is unknown to
    pyplot, so nothing displays it twice and nothing has to close it.

    Example:
        >>> ax = canvas(4, 1)
        >>> ax.get_xlim(), ax.get_ylim()
        ((np.float64(0.0), np.float64(4.0)), (np.float64(1.0), np.float64(0.0)))
    """
    figure = Figure(figsize=(width, height), dpi=100, facecolor="white")
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, width), ylim=(height, 0))
    ax.set_axis_off()
    return ax
