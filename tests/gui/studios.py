"""Studio without the window around it."""

from __future__ import annotations

from cleanclip_gui.station import Context
from cleanclip_gui.studio.station import StudioStation


def studio_station(context: Context) -> StudioStation:
    """Studio as a window of its own, on show, so that its commands can be used."""
    context.session.station = "studio"
    station = StudioStation(context)
    station.resize(1200, 660)
    station.show()
    return station
