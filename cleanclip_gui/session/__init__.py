"""What is open: Qt-free records with change events."""

from cleanclip_gui.session.records import ImagesState, RunState, Session, ShownCheckpoint

__all__ = ["ShownCheckpoint", "ImagesState", "RunState", "Session"]
