"""Stacked bars as shapes."""

from jobs.admin.charts import HEIGHT, WIDTH, stacked


def test_pieces_stand_on_each_other_and_the_highest_bar_fills_the_chart():
    bars = stacked([{"good": 3, "bad": 1}, {"good": 1}], ["good", "bad"])

    good, bad, small = bars.pieces
    assert (good.kind, good.height, good.y) == ("good", HEIGHT * 3 / 4, HEIGHT / 4)
    assert (bad.kind, bad.height, bad.y) == ("bad", HEIGHT / 4, 0)
    assert (small.x, small.height) == (WIDTH / 2, HEIGHT / 4)
    assert (bars.most, bars.total, bars.totals) == (4, 5, {"good": 4, "bad": 1})


def test_nothing_is_drawn_of_nothing():
    assert stacked([{"good": 0}], ["good"]).pieces == []
