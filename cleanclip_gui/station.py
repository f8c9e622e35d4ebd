"""What a command is, what it can ask of the window, and what it can do there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cleanclip_gui.window.main_window import MainWindow

    Act = Callable[[MainWindow], None]
    Predicate = Callable[[MainWindow], bool]


@dataclass(frozen=True)
class Command:
    """One thing the user can do.

    ``menu`` is a title of :data:`MENUS`; ``group`` commands are kept between two lines. With
    ``checked`` the command is a switch, exclusive among those of the same ``choice``. ``rail``
    puts it on the left rail.
    """

    id: str
    text: str
    menu: str
    act: Act
    help: str
    icon: str = ""
    shortcut: str = ""
    group: int = 0
    enabled: Predicate | None = None
    checked: Predicate | None = None
    choice: str = ""
    rail: bool = False


MENUS = ("&File", "&Edit", "&Paint", "&Trigger", "&Clean", "&View", "&Help")


def in_studio(window: MainWindow) -> bool:
    """Whether Studio is on show."""
    return window.station == "studio"


def can_undo(window: MainWindow) -> bool:
    """Whether an act on the canvas can be undone."""
    return in_studio(window) and window.studio.document.stack.canUndo()


def can_redo(window: MainWindow) -> bool:
    """Whether it can be done again."""
    return in_studio(window) and window.studio.document.stack.canRedo()


def has_trigger(window: MainWindow) -> bool:
    """Whether Studio shows a trigger."""
    return in_studio(window) and window.session.trigger is not None


def has_checkpoint(window: MainWindow) -> bool:
    """Whether a checkpoint is open."""
    return window.session.checkpoint is not None


def has_inspection(window: MainWindow) -> bool:
    """Whether there is a file to look at, were it a refused one."""
    return has_checkpoint(window) or window.checkpoint.inspection is not None


def has_work(window: MainWindow) -> bool:
    """Whether the Clean station has something to clean, or a run of an earlier window."""
    clean = window.clean
    earlier = clean.is_offering() or len(clean.queue) > 0
    return has_checkpoint(window) or clean.is_running() or earlier


def has_images(window: MainWindow) -> bool:
    """Whether images are open."""
    return window.session.images is not None


def studio(slot: str) -> Act:
    """Act of the Studio panel."""
    return lambda window: getattr(window.studio, slot)()


def tool(name: str) -> Act:
    """Act that takes a tool of the canvas."""
    return lambda window: window.studio.use_tool(name)


def with_key(text: str, key: str) -> str:
    """Underline the tool's key in its name, or else a p."""
    at = text.lower().find(key.lower())
    at = text.find("p") if at < 0 else at
    return f"{text[:at]}&{text[at:]}"


def holds(name: str) -> Predicate:
    """Whether the canvas holds a tool."""
    return lambda window: window.studio.canvas.tool == name


def on_slot(name: str) -> Predicate:
    """Whether a snapshot is on show."""
    return lambda window: window.studio.document.scene.slot == name


def clean(slot: str) -> Act:
    """Act of the Clean panel."""
    return lambda window: getattr(window.clean, slot)()


def clean_shown(slot: str) -> Act:
    """Act of the Clean panel that shows its station."""
    return lambda window: (window.show_station("clean"), getattr(window.clean, slot)())[1]


def can_clean(window: MainWindow) -> bool:
    """Whether a run could be started, or wait for the one at work."""
    return window.clean.start_button.isEnabled()


def can_estimate(window: MainWindow) -> bool:
    """Whether steps could be measured now."""
    return window.clean.estimate_button.isEnabled()


def clean_page(number: int) -> Act:
    """Act that shows a page of the Clean station."""
    return lambda window: (window.show_station("clean"), window.clean.show_page(number))[1]


def can_start_queue(window: MainWindow) -> bool:
    """Whether jobs wait for the user."""
    return window.clean.waiting.can_start


def can_prove(window: MainWindow) -> bool:
    """Whether a result is on show that could be tested now."""
    clean = window.clean
    shown = not clean.proof.isHidden() and clean.before_after.isVisibleTo(clean)
    return shown and clean.proof.rebound_button.isEnabled()


def is_cleaning(window: MainWindow) -> bool:
    """Whether a run goes on."""
    return window.clean.run.is_cleaning


def is_at_work(window: MainWindow) -> bool:
    """Whether a run or an estimate goes on."""
    return window.clean.is_running()


def has_cleaned(window: MainWindow) -> bool:
    """Whether a run has left a cleaned checkpoint, and it is on show."""
    return window.clean.has_result()


def theme(name: str) -> Act:
    """Act that puts on a theme."""
    return lambda window: window.set_theme(name)


def is_theme(name: str) -> Predicate:
    """Whether a theme is chosen."""
    return lambda window: window.settings.value.theme == name


def station(name: str) -> Act:
    """Act that shows a station."""
    return lambda window: window.show_station(name)


def page(name: str) -> Act:
    """Act that shows a page of Studio."""
    return lambda window: (window.show_station("studio"), window.studio.pages.show_page(name))[1]


def is_station(name: str) -> Predicate:
    """Whether a station is on show."""
    return lambda window: window.station == name
