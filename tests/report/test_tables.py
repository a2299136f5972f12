from __future__ import annotations

import math

import pytest

from mafl_opt.report.table import format_number, format_percent, format_table


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"), (math.nan, "-"), (math.inf, "inf"), (-math.inf, "-inf"), (0.0, "0"),
        (12.34567, "12.35"), (-0.00012345, "-0.0001234"), (1234.0, "1234"), (123456.0, "123456"),
        (1e9, "1e+09"), (3.98e-21, "3.98e-21"),
    ],
)  # fmt: skip
def test_numbers_have_four_digits_and_gaps_a_dash(value, text):
    assert format_number(value) == text


def test_percent_has_two_decimals_and_gaps_a_dash():
    assert format_percent(0.02346) == "2.35 %"
    assert format_percent(-9999.0) == "-999900.00 %"
    assert format_percent(2.5e300) == "2.5e+302 %"
    assert format_percent(None) == format_percent(math.inf) == "-"


def test_table_aligns_columns_left_and_right():
    text = format_table(["name", "x"], [["a", "1"], ["longer", "234"]], align="lr")
    assert text.splitlines() == [
        "name      x",
        "------  ---",
        "a         1",
        "longer  234",
    ]


def test_table_refuses_a_row_of_another_length():
    with pytest.raises(ValueError, match="zip"):
        format_table(["name", "x"], [["a"]], align="lr")
