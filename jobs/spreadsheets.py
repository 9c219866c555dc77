"""Cells of CSV files, as spreadsheets open them."""

from __future__ import annotations

# What a spreadsheet takes for a formula, unless a quote comes before it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
# For spreadsheets, which would else take the file for some other encoding.
BYTE_ORDER_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"


def cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
