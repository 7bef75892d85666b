"""Tables in Markdown."""

import pandas as pd


def table(frame: pd.DataFrame) -> str:
    """The cells as they stand: no index, and no text taken for a number."""
    return frame.to_markdown(index=False, disable_numparse=True)
