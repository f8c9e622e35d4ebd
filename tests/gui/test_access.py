"""What a screen reader hears of combo boxes and of parts that hold others."""

import pytest
from PySide6.QtGui import QAccessible

from cleanclip_gui.studio.canvas.trigger_bars import PlacementBar
from cleanclip_gui.studio.gallery.gallery import Gallery


def labels(widget):
    """Names of what labels a widget, as the accessibility bus tells them."""
    heard = QAccessible.queryAccessibleInterface(widget)
    found = [other.text(QAccessible.Text.Name) for other, _ in heard.relations()]
    return [name for name in found if name]


@pytest.mark.parametrize(
    ("make", "part", "name"),
    [
        (Gallery, "filter", "Show images"),
        (Gallery, "order", "Order"),
        (PlacementBar, "placement", "Place of the trigger"),
    ],
)
def test_a_combo_box_is_named_and_not_only_its_value(qtbot, make, part, name):
    widget = make()
    qtbot.addWidget(widget)
    widget.show()
    assert name in labels(getattr(widget, part))
