"""Starts the window, and knows all that it is made of."""

from __future__ import annotations

import argparse
import gc
import importlib.util
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cleanclip_gui.window import system_libraries

if TYPE_CHECKING:
    from cleanclip_gui.station import Context
    from cleanclip_gui.talk.script import Talk
    from cleanclip_gui.window.crash import LogBridge
    from cleanclip_gui.window.main_window import MainWindow

# Packages of the stations, in the order of the rail; ``make`` of their ``station.py`` builds one.
# The program runs without one whose folder is not there.
STATIONS = ("checkpoint", "studio", "scan", "clean", "report")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns the exit code."""
    options = _options(sys.argv[1:] if argv is None else argv)
    import PySide6

    from cleanclip_gui.window.system_libraries import pyside_problem

    problem = pyside_problem(PySide6.__version__)
    if problem:
        print(problem, file=sys.stderr)
        return 2
    from ml_core.plugins import switch_on
    from ml_core.reading.errors import InputError

    try:
        switch_on()
        talk = _talk(options.talk) if options.talk else None
    except InputError as error:
        print(error.sentence, file=sys.stderr)
        return 2
    if talk is not None and options.dry_run:
        from cleanclip_gui.window.headless import run_talk

        return run_talk(make_window, talk, options.step - 1, options.pictures)
    if not has_display():
        return _without_display(options.demo)
    lacking = system_libraries.problem()
    if lacking:
        print(lacking, file=sys.stderr)
        return 2
    return _run(options, talk)


def has_display() -> bool:
    """Whether a window can be shown: on Linux that takes X11, Wayland or a chosen platform."""
    if not sys.platform.startswith("linux") or os.environ.get("QT_QPA_PLATFORM"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="cleanclip-gui", description="Open, examine, attack and clean CLIP checkpoints."
    )
    parser.add_argument("path", nargs="?", help="checkpoint, bundle, session or pictures to open")
    parser.add_argument("--demo", action="store_true", help="open the built-in demo")
    talk = parser.add_argument_group("talks")
    talk.add_argument(
        "--talk", metavar="FILE", help="start a talk: a file, or the built-in tour or evidence"
    )
    talk.add_argument("--step", type=_count, default=1, help="begin at this step, from 1")
    talk.add_argument("--present", action="store_true", help="present it on the full screen")
    talk.add_argument(
        "--dry-run", action="store_true", help="play all steps without a window and time them"
    )
    talk.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="with --dry-run: save a PNG of each step"
    )
    options = parser.parse_args(list(argv))
    if not options.talk and (options.step > 1 or options.present or options.dry_run):
        parser.error("--step, --present and --dry-run need --talk")
    if options.pictures is not None and not options.dry_run:
        parser.error("--pictures needs --dry-run")
    return options


def _count(text: str) -> int:
    """A step's number."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("a step is a whole number from 1 on")
    return int(text)


def _talk(name: str) -> Talk:
    """A talk that comes with the program, or that of a file."""
    from cleanclip_gui.talk.script import SHIPPED, load, shipped

    return shipped(name) if name in SHIPPED else load(Path(name))


def _without_display(demo: bool) -> int:
    """Run the guided demo offscreen, or say what to do."""
    if demo:
        from cleanclip_gui.window.headless import run_demo

        return run_demo(make_window)
    print("There is no display for a window; use the command line: cleanclip --help")
    return 3


def _run(options: argparse.Namespace, talk: Talk | None) -> int:
    gc.disable()  # imports would be searched again and again; the window has a `Collector`
    from PySide6.QtWidgets import QApplication

    from cleanclip_gui.window.splash import Splash

    # Ctrl+C in the terminal ends the program; a job's child sees its pipe close and saves.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    app = QApplication(["cleanclip-gui"])  # the name of its windows, WM_CLASS
    app.setApplicationName("CleanCLIP GUI")
    app.setDesktopFileName("cleanclip-gui")
    with Splash(app) as splash:
        splash.import_parts()
        from cleanclip_gui import theme, threads
        from cleanclip_gui.collector import Collector
        from cleanclip_gui.jobs.runner import waiting_child
        from cleanclip_gui.session.settings import SettingsStore
        from cleanclip_gui.station import Context
        from cleanclip_gui.widgets.prompts import file_prompts
        from cleanclip_gui.window.crash import CrashHandler, LogBridge, start_logging, stop_logging

        bridge = LogBridge()
        handlers = start_logging(bridge)
        settings = SettingsStore()
        prompts = file_prompts(lambda: settings.value.last_folder)
        context = Context(settings=settings, prompts=prompts, waiting_child=waiting_child)
        theme.set_size(context.settings.value.size)
        theme.apply_theme(app, context.settings.value.theme)
        theme.set_motion(context.settings.value.motion)
        window = make_window(context, bridge, splash.turn)
        Collector(window)
        window.show()
    with CrashHandler(bridge):
        _begin(window, talk, options)
        code = app.exec()
    stop_logging(handlers)
    if threads.still_running():
        # Still importing torch or hashing; a thread that outlives the interpreter would abort it.
        logging.shutdown()
        os._exit(code)
    return code


def _begin(window: MainWindow, talk: Talk | None, options: argparse.Namespace) -> None:
    """Open what was asked for."""
    from PySide6.QtCore import QTimer

    from ml_core.paths import nothing_is_kept

    if note := window.settings.trouble or nothing_is_kept():
        logging.getLogger(__name__).warning(note)
        window.statusBar().showMessage(note)
    if talk is not None:
        QTimer.singleShot(0, window, partial(_start_talk, window, talk, options))
    elif options.demo:
        QTimer.singleShot(0, window, window.start_tour)
    elif options.path:
        window.take_named(options.path)


def _start_talk(window: MainWindow, talk: Talk, options: argparse.Namespace) -> None:
    from ml_core.reading.errors import InputError

    try:
        window.talk.start_talk(talk, options.step - 1)
    except InputError as error:
        window.show_failure(error)
        return
    if options.present:
        window.talk.present(full_screen=True)


def make_window(
    context: Context, bridge: LogBridge | None = None, between: Callable[[], object] = lambda: None
) -> MainWindow:
    """The window with its stations, not shown yet; imports Qt.

    Parameters
    ----------
    context
        What all of them work with.
    bridge
        Carries log lines and crashes into the window.
    between
        Called after each part that is made.
    """
    from cleanclip_gui import theme
    from cleanclip_gui.data.data_bar import DataBar
    from cleanclip_gui.window.main_window import MainWindow

    there = [name for name in STATIONS if importlib.util.find_spec(f"cleanclip_gui.{name}")]
    stations = []
    with theme.styled_afterwards():
        for name in there:
            module = importlib.import_module(f"cleanclip_gui.{name}.station")
            between()
            stations.append(getattr(module, f"{name.capitalize()}Station")(context))
            between()
        return MainWindow(context, stations, DataBar(context), bridge)
