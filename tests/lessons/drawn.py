"""What a plot says along its axes and in its legend."""

from course_lib.lessons.sketch import Drawing


def ticks(drawing: Drawing) -> tuple[list[str], list[str]]:
    """What stands along the two axes of the first panel."""
    drawing.figure.draw_without_rendering()
    ax = drawing.figure.axes[0]
    x, y = ([t.get_text() for t in axis.get_ticklabels()] for axis in (ax.xaxis, ax.yaxis))
    return x, y


def explained(drawing: Drawing) -> list[str]:
    return [text.get_text() for legend in drawing.figure.legends for text in legend.get_texts()]
