"""The slider of dropped layers."""

import pytest
from slider_samples import depths

from course_lib.lessons.sliders.depth import depth_chart, depth_explorer, depth_view


def test_the_readout_compares_with_the_whole_model():
    grid = depths()
    shown = depth_view(grid, 6)
    assert f"{grid[6].perplexity.value:.3g}" in shown.readout and "speed 1.27 ×" in shown.readout
    assert "113 million parameters" in shown.readout and "Without 6 layers" in shown.alt
    assert "perplexity 1.00 ×, speed 1.00 ×" in depth_view(grid, 0).readout


def test_all_marks_lie_within_the_scales():
    grid = depths()
    spec = depth_chart(grid)
    ends = {
        layer["encoding"]["y"]["field"]: layer["encoding"]["y"]["scale"]["domain"]
        for panel in spec["hconcat"]
        for layer in panel["layer"]
    }
    for row in spec["datasets"]["all"]:
        for name, (low, high) in ends.items():
            assert low <= row[name] <= high


def test_the_slider_moves_over_what_was_tried():
    explorer = depth_explorer(depths())
    (control,) = explorer.controls
    control.value = "9"
    assert "9 layers dropped" in explorer.readout.value
    with pytest.raises(ValueError, match="the whole model, is missing"):
        depth_explorer({3: depths()[3]})
