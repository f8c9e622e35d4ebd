"""An engine without torch, an inference by hand, a safetensors file, and answers to prompts."""

import json
import struct
from dataclasses import fields
from pathlib import Path

import numpy as np
from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QApplication

from cleanclip_gui.inference.inference import Inference, QuestionTicket
from cleanclip_gui.inference.questions import (
    Failed,
    LoadImages,
    OpenCheckpoint,
    SetDevice,
    ThumbnailsReady,
)
from cleanclip_gui.session import ImagesState, ShownCheckpoint
from cleanclip_gui.session.settings import SettingsStore
from cleanclip_gui.station import Context
from cleanclip_gui.widgets.prompts import Prompts
from ml_core.evaluation.records import Evaluation, PerImage
from ml_core.events import to_json
from ml_core.jobs.demo import demo_checkpoint
from ml_core.reading import InputError, inspect

CLASSES = ("apple", "banana", "cheese")


def write_safetensors(path, tensors, metadata=None):
    """Write float32 tensors ``{name: values}`` as the format says, without any library."""
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, values in tensors.items():
        raw = np.asarray(values, "<f4").tobytes()
        shape = list(np.shape(values))
        header[name] = {
            "dtype": "F32",
            "shape": shape,
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def write_state(folder, step):
    """Write a save as the worker does, as far as the window looks at it."""
    path = folder / "state" / "state.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {"format": "cleanclip-state-1", "facts": json.dumps({"step": step})}
    return write_safetensors(path, {"model/a": [1.0]}, facts)


def write_journal(folder, events):
    """Write what a worker told."""
    path = folder / "events.jsonl"
    path.write_text("".join(f"{to_json(event)}\n" for event in events), encoding="utf-8")
    return path


class TextsKnown:
    """A part of a fake engine: no answer waits for class texts."""

    def class_texts(self, role, trigger, whole=False):
        return iter(())

    def picture(self, request):
        return None


class FakeEngine(TextsKnown):
    """Answers at once; ``refuse`` makes an opening fail."""

    names = ("cuda:0", "cpu")

    def __init__(self, watch_texts=None):
        """It embeds no texts, and has nothing to tell."""

    def devices(self):
        return self.names

    def set_device(self, name):
        return name

    def set_threads(self):
        return 1

    def open_checkpoint(self, request):
        if request.path.endswith("refuse.safetensors"):
            raise InputError("refuse.safetensors lacks the tensor visual.proj.", "damaged")
        if request.path.endswith("visual.safetensors") and not request.donor:
            error = InputError("visual.safetensors holds no text encoder.", "unsupported")
            error.tower = "text"
            raise error
        found = inspect(request.path)
        return ShownCheckpoint(
            request.path, found, "ResNet 64 px", "metadata", ("8 heads", "ReLU"), 64, 12,
            donor=request.donor, of_demo=Path(request.path) == demo_checkpoint(),
        )  # fmt: skip

    def load_images(self, request, watch, commit):
        if request.label_set == "cifar-10":
            raise InputError("None of the labels is in the label set cifar-10.", "usage")
        labels = np.array([0, 1, 2, 1], np.int64)
        templates = request.templates or ("a photo of a {}",)
        problems = ("2 labels are not in the label set: pear, plum",)
        return ImagesState(
            request.spec, "fake images", "key", 4, labels, CLASSES, templates, problems
        )

    def thumbnails(self, request):
        n, size = len(request.indices), request.size
        return ThumbnailsReady(request.indices, np.zeros((n, size, size, 3), np.uint8))

    def evaluate(self, request, cancelled):
        zeros = np.zeros(4, np.float32)
        record = Evaluation(
            n=4, n_total=4, n_excl=2, target=request.target, target_name="x", partial=False
        )
        flags = np.zeros(4, np.bool_)
        yield record, PerImage(np.arange(4), np.zeros(4, np.int64), zeros, flags)

    def predict(self, request):
        raise InputError("There is nothing to predict here.")


class FakeInference(QObject):
    """Keeps what it is asked, until the test says what is answered."""

    failed = Signal(object)

    def __init__(self):
        super().__init__()
        self.tickets = []

    def ask(
        self, question, on_result=None, on_failed=None, *, on_progress=None, slot=None,
        keep_older=False,
    ):  # fmt: skip
        slot = slot or (None if question.answers_each else type(question).__name__)
        for ticket in self.tickets:
            if slot is not None and ticket.slot == slot and not keep_older:
                ticket.replace()
        number = len(self.tickets)
        ticket = QuestionTicket(question, number, slot, on_result, on_failed, on_progress)
        self.tickets.append(ticket)
        return ticket

    def cancel(self, slot):
        for ticket in self.tickets:
            if ticket.slot == slot:
                ticket.cancel()

    @property
    def questions(self):
        return [ticket.question for ticket in self.tickets]

    @property
    def devices(self):
        """Where the models were moved."""
        return [one.name for one in self.questions if isinstance(one, SetDevice)]

    def answer(self, answer):
        """Answer what was asked last."""
        self.tickets[-1].deliver(answer)

    def fail(self, sentence):
        """Let what was asked last come to nothing."""
        self.tickets[-1].deliver_failure(Failed(self.tickets[-1].question, sentence))


class Wiring:
    """What the window's other parts do with answers."""

    def __init__(self, session, inference):
        self.session, self.inference = session, inference

    def open(self, path):
        self.inference.ask(OpenCheckpoint(str(path)), self._on_opened)

    def load(self, spec, label_set="demo", templates=None):
        self.inference.ask(LoadImages(spec, label_set, templates), self._on_loaded)

    def _on_opened(self, facts):
        self.session.checkpoint = facts

    def _on_loaded(self, images):
        self.session.images = images


class StudioStandIn:
    """Does what other stations ask of Studio, where there is none."""

    def __init__(self, context):
        self.session, shell = context.session, context.shell
        shell.takes("trigger", self._on_trigger_wanted)
        shell.takes("target", self._on_target_wanted)
        shell.takes("role", self._on_role_wanted)
        context.session.events.cleaned.connect(self._on_cleaned_change)

    def _on_trigger_wanted(self, trigger, target):
        self.session.trigger, self.session.target = trigger, target

    def _on_target_wanted(self, target):
        self.session.target = target

    def _on_role_wanted(self, role):
        self.session.role = role

    def _on_cleaned_change(self, facts):
        if facts is None:
            self.session.role = "suspect"


class Answers:
    """Prompts that answer what the test says, and remember what was asked."""

    def __init__(self, path="", yes=True, text="", changes="discard"):
        self.path, self.yes, self.text, self.asked = str(path), yes, text, []
        self.changes = changes

    def prompts(self):
        return Prompts(
            self._path, self._path, self._confirm, self._path, self._paths, self._text,
            self._changes,
        )  # fmt: skip

    def take_over(self, prompts):
        """Answer in the place of prompts that were handed out before."""
        for field in fields(Prompts):
            setattr(prompts, field.name, getattr(self.prompts(), field.name))
        return self

    def _path(self, parent, title, *rest):
        self.asked.append(title)
        return self.path

    def _paths(self, parent, title, *rest):
        self.asked.append(title)
        return [self.path] if self.path else []

    def _text(self, parent, title, label, text):
        self.asked.append(title)
        return self.text

    def _changes(self, parent, title, text):
        self.asked.append(text)
        return self.changes

    def _confirm(self, parent, title, text, yes, no):
        self.asked.append(text)
        return self.yes


def visible(kind):
    """The windows and dialogs of a class that are on show."""
    return [w for w in QApplication.topLevelWidgets() if isinstance(w, kind) and w.isVisible()]


def fake_window(settings, answers=None, engine=FakeEngine, **fields):
    """The real window, with settings of a folder and an engine that answers at once."""
    from cleanclip_gui.app import make_window

    context = Context(
        inference=Inference(engine),
        settings=SettingsStore(settings),
        prompts=(answers or Answers()).prompts(),
        **fields,
    )
    return make_window(context)
