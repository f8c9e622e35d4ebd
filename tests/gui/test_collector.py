"""Garbage is collected in the GUI thread, whichever thread makes it."""

from __future__ import annotations

import gc
import threading

from cleanclip_gui.collector import Collector


def test_what_another_thread_makes_is_collected_in_this_one(qapp, qtbot):
    threads = []

    def note(phase, _):
        if phase == "start":
            threads.append(threading.get_ident())

    def make_cycles():
        for _ in range(3 * gc.get_threshold()[0]):
            cycle = []
            cycle.append(cycle)

    collector = Collector(qapp)
    assert gc.get_freeze_count()  # what is there now is set aside
    gc.callbacks.append(note)
    try:
        other = threading.Thread(target=make_cycles)
        other.start()
        other.join()
        assert not threads
        qtbot.waitUntil(lambda: bool(threads))
        assert set(threads) == {threading.get_ident()}
    finally:
        gc.callbacks.remove(note)
        collector.deleteLater()
