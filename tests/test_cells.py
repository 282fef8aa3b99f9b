"""The cells that a test leaves out are those that what it looks at does not need."""

from cells import needed_for


def test_what_a_cell_does_not_need_is_left_out():
    cells = [
        "find",
        "x = 1",
        "unused = x",
        "def f(): return x",
        "y = [f() for x in range(3)]",
        "show(y)",
    ]
    assert needed_for(cells, {5}) == {0, 1, 3, 4, 5}
