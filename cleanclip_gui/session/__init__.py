"""What is open: Qt-free records with change events."""

from cleanclip_gui.session.records import CheckpointFacts, ImagesState, RunState, Session

__all__ = ["CheckpointFacts", "ImagesState", "RunState", "Session"]
