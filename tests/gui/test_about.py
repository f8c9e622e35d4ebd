"""The box about the program says how the reading process is confined."""

from PySide6.QtWidgets import QLabel

from cleanclip_gui.window.help_dialog import AboutDialog, sandbox_text
from ml_core.reading.sandbox import SandboxState, available


def test_it_tells_the_state_of_this_system(qtbot):
    dialog = AboutDialog("1.2.3")
    qtbot.addWidget(dialog)
    texts = [label.text() for label in dialog.findChildren(QLabel)]
    assert sandbox_text(available()) in texts


def test_a_complete_sandbox_and_what_others_lack():
    assert "is complete" in sandbox_text(SandboxState("on", "on", "on, version 7", "on"))
    lacking = sandbox_text(SandboxState("on", "on", "off: only Linux has it", "on"))
    assert "is not complete" in lacking
    assert "Landlock" in lacking
    assert "(only Linux has it)" in lacking
    assert "memory" not in lacking
    assert "lacks limits on memory and time (in part: AS)" in sandbox_text(
        SandboxState("off in part: AS", "on", "on, version 7", "on")
    )
