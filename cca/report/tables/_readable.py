"""Tables for reading: fewer columns, short numbers, the field's names."""

from typing import Any

import pandas as pd

NAMES = {
    "fid": "FID ↓",
    "inception_score": "IS ↑",
    "sfid": "sFID ↓",
    "precision": "precision ↑",
    "recall": "recall ↑",
    "cfg_scale": "s of CFG",
    "cfg_fid": "FID with CFG ↓",
    "cfg_inception_score": "IS with CFG ↑",
    "fid_inception": "Inception FID ↓",
    "cfg_fid_inception": "Inception FID with CFG ↓",
    "num_samples": "samples",
    "psnr": "PSNR ↑",
    "rfid": "rFID of training images ↓",
    "num_images": "training images",
    "codebook_use": "share of codes used ↑",
    "perplexity": "perplexity ↑",
}

LATEX = {
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "±": r"$\pm$",
    "λ": r"$\lambda$",
    "β": r"$\beta$",
    "α": r"$\alpha$",
}


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as text: a mean and its ``_std`` in one cell, and no column that has no value.

    Numbers have four significant digits, a deviation two; what is missing is "-". ``origin`` is left to
    the CSV.
    """
    shown = {}
    for name in frame:
        if name == "origin" or name.endswith("_std") or frame[name].isna().all():
            continue
        deviations = frame.get(f"{name}_std", pd.Series(index=frame.index, dtype=float))
        cells = [cell(value, std) for value, std in zip(frame[name], deviations, strict=True)]
        shown[NAMES.get(name, name)] = cells
    return pd.DataFrame(shown)


def cell(value: Any, deviation: float = float("nan")) -> str:
    """One value, with its standard deviation where it has one."""
    if pd.isna(value):
        return "-"
    if isinstance(value, str):
        return value
    text = f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
    return text if pd.isna(deviation) else f"{text} ± {deviation:.2g}"


def latex(frame: pd.DataFrame) -> str:
    """A readable frame as a LaTeX table that any engine takes."""
    text = frame.to_latex(index=False, escape=True)
    for character, command in LATEX.items():
        text = text.replace(character, command)
    return text
