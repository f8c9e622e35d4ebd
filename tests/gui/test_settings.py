"""Settings and layout survive, and damage never keeps the program from starting."""

import json
import logging

import pytest

from cleanclip_gui.session.settings import SettingsStore


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe"])
def test_a_damaged_file_gives_the_defaults_and_a_message(tmp_path, caplog, content):
    (tmp_path / "settings.json").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        store = SettingsStore(tmp_path)
    assert store.value.theme == "system"
    assert store.trouble in caplog.text
    assert store.trouble.endswith("The file is kept as settings.damaged.json.")
    assert (tmp_path / "settings.damaged.json").read_bytes() == content
    store.update(theme="light")
    assert json.loads((tmp_path / "settings.json").read_text())["theme"] == "light"


def test_one_wrong_setting_leaves_the_others(tmp_path):
    fields = {"theme": "pink", "size": 150, "device": "cuda:0", "recent": "no list", "later": 1}
    (tmp_path / "settings.json").write_text(json.dumps(fields))
    store = SettingsStore(tmp_path)
    assert (store.value.theme, store.value.size, store.value.device) == ("system", 150, "cuda:0")
    assert store.trouble == (
        "Damaged in settings.json, their defaults are used: recent, theme. The file is kept as "
        "settings.damaged.json."
    )
    store.update(threads=3)
    assert json.loads((tmp_path / "settings.damaged.json").read_text()) == fields
    again = SettingsStore(tmp_path)
    assert (again.value.size, again.value.threads, again.trouble) == (150, 3, "")


def test_a_part_of_a_station_is_checked_by_its_owner_and_stays_without_it(tmp_path):
    (tmp_path / "settings.json").write_text('{"scans": "no list", "notes_columns": [1, 2]}')
    store = SettingsStore(tmp_path)
    assert store.trouble == ""
    assert store.results("scan") == ()
    assert store.trouble.startswith("Damaged in settings.json, the default is used: scans.")
    store.update(threads=3)
    assert json.loads((tmp_path / "settings.json").read_text())["notes_columns"] == [1, 2]


def test_a_disk_that_cannot_be_written_is_logged_and_the_old_file_stays(
    tmp_path, caplog, monkeypatch
):
    store = SettingsStore(tmp_path)
    store.update(theme="dark")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ml_core.atomic.os.replace", full)
    store.update(theme="light")
    assert "No space left" in caplog.text
    assert store.value.theme == "light"
    assert json.loads((tmp_path / "settings.json").read_text())["theme"] == "dark"
    assert [p.name for p in tmp_path.iterdir()] == ["settings.json"]


def test_the_layout_comes_back_to_the_byte_and_a_damaged_one_is_dropped(tmp_path, caplog):
    store = SettingsStore(tmp_path)
    assert store.layout() == (b"", b"")
    store.save_layout(b"\x00geometry", b"state\xff")
    assert SettingsStore(tmp_path).layout() == (b"\x00geometry", b"state\xff")
    (tmp_path / "layout.json").write_text('{"geometry": "%%", "state": ""}')
    assert store.layout() == (b"", b"")
    assert "layout is damaged" in caplog.text
