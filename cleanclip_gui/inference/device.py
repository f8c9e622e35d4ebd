"""Where Studio computes while a run uses a GPU, and with how many threads."""

from __future__ import annotations

import os

from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.inference.questions import SetDevice, SetThreads
from cleanclip_gui.session import Session
from cleanclip_gui.widgets.text import used_text

_THREADS = "OMP_NUM_THREADS"  # what `ml_core.jobs.devices.set_threads` looks at; jobs inherit it
_TOLD = os.environ.get(_THREADS)


class StudioDevice:
    """Moves Studio off a GPU that a run uses, and back when the run has ended."""

    def __init__(self, session: Session, inference: Inference) -> None:
        self._session = session
        self._inference = inference
        self._released = False
        self._home = ""

    def found(self, devices: tuple[str, ...], chosen: str) -> None:
        """Go to the device that the user chose before, or else to the best of those found."""
        device = chosen if chosen in devices else devices[0]
        if self._released:  # a run that was resumed at once has the GPU
            self._home, device = device, "cpu"
        self._session.device, self._session.devices = device, devices
        self.move(device)

    def move(self, device: str) -> None:
        """Ask the models to move; the session learns where they are."""
        self._inference.ask(SetDevice(device), self._on_moved)

    def use_threads(self, number: int) -> None:
        """Compute with so many from now on, 0 for what suits; jobs that start later do too."""
        if number:
            os.environ[_THREADS] = str(number)
        elif _TOLD is None:
            os.environ.pop(_THREADS, None)
        else:
            os.environ[_THREADS] = _TOLD
        self._inference.ask(SetThreads())

    def release(self, device: str) -> str:
        """Leave ``device`` to a run; return what that means for Studio, as a sentence."""
        if device == "cpu":
            return "Studio shares the processor: its numbers come slower."
        self._released, self._home = True, self._session.device
        if self._home != "cpu":
            self.move("cpu")
        return f"Studio evaluates on the CPU while the run uses {used_text(device)}."

    @property
    def wanted(self) -> str:
        """The device that the user chose, wherever Studio is meanwhile."""
        return self._home if self._released else self._session.device

    def restore(self) -> None:
        """Go back to where Studio was."""
        if self._released and self._home != "cpu":
            self.move(self._home)
            self._session.device = self._home
        self._released = False

    def _on_moved(self, device: str) -> None:
        self._session.device = device
