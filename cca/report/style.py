"""One look for all figures: a colour and a marker for each method, type readable at column width."""

import matplotlib
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


def new_figure(panels: int, height: float = 2.8) -> tuple[Figure, list]:
    """A figure of ``panels`` side by side at column width, and its axes."""
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    with matplotlib.rc_context(RC):
        width = COLUMN_WIDTH if panels > 1 else 0.72 * COLUMN_WIDTH
        figure, axes = plt.subplots(1, panels, figsize=(width, height), squeeze=False, layout="constrained")
    return figure, list(axes[0])
