"""One look for all figures: a colour and a marker for each method, type readable at column width."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLUMN_WIDTH = 5.5  # inches, the text width of the paper

# Okabe-Ito colours, told apart by colour-blind readers; markers differ too.
METHODS = {
    "base": {"color": "#000000", "marker": "s", "label": "no guidance"},
    "cfg": {"color": "#0072B2", "marker": "o", "label": "CFG"},
    "cca": {"color": "#D55E00", "marker": "^", "label": "CCA, guidance-free"},
}

RC = {
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 9,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "lines.markersize": 5,
    "pdf.fonttype": 42,
    "svg.hashsalt": "cca",
}


def new_figure(panels: int, height: float = 2.8) -> tuple[Figure, list[Axes]]:
    """A figure of ``panels`` side by side at column width, and its axes."""
    width = COLUMN_WIDTH if panels > 1 else 0.72 * COLUMN_WIDTH
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])
