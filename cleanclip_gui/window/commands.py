"""Every command once: menus, the rail and the palette are made from this list."""

from __future__ import annotations

from cleanclip_gui.station import (
    MENUS,
    Command,
    can_clean,
    can_estimate,
    can_prove,
    can_redo,
    can_start_queue,
    can_undo,
    clean,
    clean_page,
    clean_shown,
    has_checkpoint,
    has_cleaned,
    has_images,
    has_inspection,
    has_trigger,
    has_work,
    holds,
    in_studio,
    is_at_work,
    is_cleaning,
    is_station,
    is_theme,
    on_slot,
    page,
    station,
    studio,
    theme,
    tool,
    with_key,
)
from cleanclip_gui.studio.canvas.tools import TOOLS

__all__ = ["COMMANDS", "MENUS", "Command"]

_FILE: tuple[Command, ...] = (
    Command(
        "file.demo", "Try the &demo", "&File", lambda w: w.start_tour(),
        "Be led through the poisoned CLIP that ships with the program.", "demo", "Ctrl+D",
    ),
    Command(
        "file.open", "&Open checkpoint…", "&File", lambda w: w.choose_checkpoint(),
        "Examine and open a safetensors or PyTorch file.", "open", "Ctrl+O", 1,
    ),
    Command(
        "file.open_folder", "Open checkpoint &folder…", "&File", lambda w: w.choose_folder(),
        "Examine and open an open_clip folder.", "folder", "Ctrl+Shift+O", 1,
    ),
    Command(
        "file.hub", "Open from the &Hub…", "&File", lambda w: w.checkpoint.fetching.open(),
        "Fetch a repository of the Hugging Face Hub, and examine it.", "open", "Ctrl+H", 1,
    ),
    Command(
        "file.images_folder", "Evaluation &images from a folder…", "&File",
        lambda w: w.data_bar.choose_folder(),
        "Evaluate on a folder per class, or a set such as CIFAR-10.", "image", "Ctrl+I", 2,
    ),
    Command(
        "file.images_table", "Evaluation images from a &table…", "&File",
        lambda w: w.data_bar.choose_table(),
        "Evaluate on pictures that a CSV or TSV names.", "image", "Ctrl+Shift+I", 2,
    ),
    Command(
        "file.images_file", "Evaluation i&mages from a shard or Parquet…", "&File",
        lambda w: w.data_bar.choose_file(),
        "Evaluate on a WebDataset shard or a Parquet file.", "library", "", 2,
    ),
    Command(
        "file.images_back", "&Back to the images before", "&File", lambda w: w.data_bar.go_back(),
        "Use the images, classes and templates that were in use before.", "undo", "", 2,
        lambda w: w.data_bar.can_go_back,
    ),
    Command(
        "file.labels", "Class &list from a file…", "&File",
        lambda w: w.data_bar.choose_label_file(),
        "Use class names from a text file, one a line.", "tag", "", 2,
    ),
    Command(
        "file.classes", "Edit the cla&sses…", "&File", lambda w: w.data_bar.edit_classes(),
        "Change the class names that the model chooses from.", "tag", "", 2, has_images,
    ),
    Command(
        "file.templates", "&Prompt templates…", "&File", lambda w: w.data_bar.edit_templates(),
        "Edit the prompts of the zero-shot classifier.", "text", "Ctrl+T", 2, has_images,
    ),
    Command(
        "file.convert", "&Convert to safetensors…", "&File",
        lambda w: w.checkpoint.actions_.convert(),
        "Copy the checkpoint's tensors, bit for bit, into a file without pickles.", "save", "", 3,
        lambda w: w.checkpoint.actions_.can_convert,
    ),
    Command(
        "file.compare", "Comp&are with…", "&File", lambda w: w.checkpoint.actions_.compare(),
        "Show tensor by tensor where another checkpoint differs.", "compare", "", 3,
        lambda w: w.checkpoint.actions_.can_compare,
    ),
    Command(
        "file.export", "&Export inspection…", "&File", lambda w: w.checkpoint.actions_.export(),
        "Write what was found in the file as a web page, JSON or SARIF.", "copy", "Ctrl+Shift+E",
        3, lambda w: w.checkpoint.actions_.can_export,
    ),
    Command(
        "file.doctor", "Loader docto&r…", "&File", lambda w: w.checkpoint.actions_.ask_doctor(),
        "Try on labelled images what the file does not say, or says wrong.", "settings",
        "Ctrl+Shift+L", 4, lambda w: w.checkpoint.actions_.can_ask_doctor,
    ),
    Command(
        "file.donor", "Choose a do&nor…", "&File", lambda w: w.checkpoint.actions_.choose_donor(),
        "Name a whole CLIP for the encoder that the file lacks.", "checkpoint", "", 4,
        lambda w: w.checkpoint.actions_.can_choose_donor,
    ),
    Command(
        "file.head", "Sa&ve the linear head…", "&File",
        lambda w: w.checkpoint.actions_.save_head(),
        "Write the linear head that the file holds beside its CLIP.", "save", "", 4,
        lambda w: w.checkpoint.actions_.can_save_head,
    ),
    Command(
        "file.known", "Add to &known files…", "&File", lambda w: w.checkpoint.actions_.add_known(),
        "Keep what you know of the file, by its SHA-256.", "library", "", 4,
        lambda w: w.checkpoint.actions_.can_add_known,
    ),
    Command(
        "file.quit", "&Quit", "&File", lambda w: w.close(),
        "Close the window.", "cancel", "Ctrl+Q", 5,
    ),
)  # fmt: skip

_STUDIO: tuple[Command, ...] = (
    Command(
        "edit.undo", "&Undo", "&Edit", studio("undo"), "Undo the last act on the canvas.",
        "undo", "Ctrl+Z", 0, can_undo,
    ),
    Command(
        "edit.redo", "&Redo", "&Edit", studio("redo"), "Do it again.",
        "redo", "Ctrl+Shift+Z", 0, can_redo,
    ),
    Command(
        "edit.paste", "&Paste picture as trigger", "&Edit", studio("paste"),
        "Stamp the picture in the clipboard.", "paste", "Ctrl+V", 1, in_studio,
    ),
    Command(
        "edit.copy", "C&opy trigger", "&Edit", studio("copy"),
        "Copy the trigger, as files and as a picture.", "copy", "Ctrl+C", 1, has_trigger,
    ),
    Command(
        "edit.clear", "&Clear the canvas", "&Edit", studio("clear"),
        "Remove paint and patch.", "clear", "Ctrl+Backspace", 1, has_trigger,
    ),
    Command(
        "trigger.flip_a", "Flip to snapshot &A", "&Trigger", studio("flip_to_a"),
        "Show trigger A, and keep B.", "compare", "Ctrl+7", 0, in_studio, on_slot("A"), "slot",
    ),
    Command(
        "trigger.flip_b", "Flip to snapshot &B", "&Trigger", studio("flip_to_b"),
        "Show trigger B, and keep A.", "compare", "Ctrl+8", 0, in_studio, on_slot("B"), "slot",
    ),
    Command(
        "trigger.mirror", "Mirror left and &right", "&Trigger", studio("mirror_h"),
        "Mirror selection, patch or paint.", "mirror-h", "", 0, has_trigger,
    ),
    Command(
        "trigger.mirror_down", "&Mirror top and bottom", "&Trigger", studio("mirror_v"),
        "Mirror selection, patch or paint.", "mirror-v", "", 0, has_trigger,
    ),
    Command(
        "trigger.rotate", "&Turn by 90°", "&Trigger", studio("rotate"),
        "Turn selection, patch or paint clockwise.", "rotate", "Ctrl+Shift+R", 0, has_trigger,
    ),
    *(
        Command(
            f"trigger.tool_{name}", with_key(text, key), "&Paint", tool(name),
            f"{key} while the canvas has the focus.", icon, "", 0, in_studio, holds(name), "tool",
        )
        for name, icon, text, key in TOOLS
    ),
    Command(
        "trigger.demo", "Use the &demo sticker", "&Trigger", studio("use_demo_trigger"),
        "Stamp the sticker that the demo model was poisoned with.", "stamp", "Ctrl+J", 1,
        in_studio,
    ),
    Command(
        "trigger.library", "&Library…", "&Trigger", studio("show_library"),
        "Published triggers, and those that you saved.", "library", "Ctrl+Shift+B", 1, in_studio,
    ),
    Command(
        "trigger.parameters", "Param&eters…", "&Trigger", studio("show_parameters"),
        "Every number of the trigger, with its range and unit.", "sliders", "Ctrl+Shift+P", 1,
        in_studio,
    ),
    Command(
        "trigger.upload", "&Upload picture or trigger…", "&Trigger", studio("upload"),
        "Stamp a picture, a saved trigger, or a pattern and its mask.",
        "upload", "Ctrl+U", 1, in_studio,
    ),
    Command(
        "trigger.save", "&Save trigger in the library…", "&Trigger", studio("save_trigger"),
        "Keep the trigger under a name.", "save", "Ctrl+Shift+S", 1, has_trigger,
    ),
    Command(
        "trigger.save_as", "Sa&ve trigger as a file…", "&Trigger", studio("save_trigger_as"),
        "Write the trigger where you say.", "save", "", 1, has_trigger,
    ),
    Command(
        "trigger.measure_all", "Measure on the &whole set", "&Trigger", studio("measure_all"),
        "Also on a slow model, however long it takes.", "target", "Ctrl+Shift+M", 2, in_studio,
    ),
    Command(
        "trigger.next", "&Next picture", "&Trigger", studio("next_image"),
        "Look at the next picture of the gallery.", "next", "Alt+Right", 2, in_studio,
    ),
    Command(
        "trigger.previous", "&Previous picture", "&Trigger", studio("previous_image"),
        "Look at the picture before it.", "back", "Alt+Left", 2, in_studio,
    ),
)  # fmt: skip

_CLEAN: tuple[Command, ...] = (
    Command(
        "clean.estimate", "&Estimate", "&Clean", clean_shown("estimate"),
        "Measure a few steps and say how long the run would take.", "info", "Ctrl+E", 0,
        can_estimate,
    ),
    Command(
        "clean.start", "&Start cleaning", "&Clean", clean_shown("start"),
        "Finetune the checkpoint in a process of its own.", "play", "Ctrl+Return", 0, can_clean,
    ),
    Command(
        "clean.audit", "&Audit training pairs…", "&Clean", lambda w: w.clean.auditing.open(),
        "Look for poisoned pairs in what the checkpoint is to be cleaned with.", "search",
        "Ctrl+Shift+A", 0, lambda w: w.session.checkpoint is not None and w.clean.data.takes_pairs,
    ),
    Command(
        "clean.open_audit", "Ope&n audit…", "&Clean", lambda w: w.clean.auditing.choose(),
        "Show an audit that was made before, with what was excluded by it.", "folder",
    ),
    Command(
        "clean.resume_folder", "&Resume a run…", "&Clean", lambda w: w.resuming.choose(),
        "Go on with a run that was interrupted, from its folder.", "folder", "Ctrl+R", 0,
        lambda w: not w.clean.is_running(),
    ),
    Command(
        "clean.pause", "&Pause or go on", "&Clean", clean("pause"),
        "Hold the run before its next step, or let it go on.", "pause", "Ctrl+P", 1, is_cleaning,
    ),
    Command(
        "clean.stop", "S&top and save", "&Clean", clean("stop_and_save"),
        "Finish the step, save what there is, measure it.", "stop", "Ctrl+.", 1, is_cleaning,
    ),
    Command(
        "clean.cancel", "&Cancel", "&Clean", clean("cancel"),
        "End the run at once; its last save is kept.", "cancel", "Ctrl+Shift+.", 1, is_at_work,
    ),
    Command(
        "clean.try", "Try in St&udio", "&Clean", clean("try_cleaned"),
        "Put the same trigger on the cleaned model.", "compare", "Ctrl+Shift+T", 2, has_cleaned,
    ),
    Command(
        "clean.save", "Save cleaned c&heckpoint or adapter…", "&Clean", clean("save_cleaned"),
        "Copy what the run made to a place of your choice.", "save", "Ctrl+S", 2, has_cleaned,
    ),
    Command(
        "clean.rebound", "Re&bound test", "&Clean", lambda w: w.clean.proving.begin_rebound(),
        "Finetune the cleaned model once more: does the backdoor come back?", "redo", "", 2,
        can_prove,
    ),
    Command(
        "clean.holdouts", "Hold-&outs", "&Clean", lambda w: w.clean.proving.begin_holdouts(),
        "Measure what the run was not told.", "target", "", 2, can_prove,
    ),
    Command(
        "clean.runs", "&Queue and history", "&Clean", clean_page(1),
        "Runs that wait, and those of before.", "library", "Ctrl+4", 3, has_work,
    ),
    Command(
        "clean.start_queue", "Run what &waits", "&Clean",
        lambda w: (clean_page(1)(w), w.clean.waiting.start())[1],
        "Start the jobs that wait in a held queue, one after the other.", "play", "", 3,
        can_start_queue,
    ),
    Command(
        "clean.compare", "Co&mpare runs", "&Clean", clean_page(2),
        "Trade-off and curves of the runs that are ticked.", "compare", "Ctrl+5", 3, has_work,
    ),
)  # fmt: skip

_WHY = (
    ("trigger", "Tri&gger canvas", "Back to painting.", "stamp", "Ctrl+Shift+1"),
    ("attribution", "Where the model loo&ks", "On one picture.", "eye", "Ctrl+Shift+2"),
    ("map", "&Embedding map", "Pictures and class texts in the plane.", "dot", "Ctrl+Shift+3"),
    ("pair", "Two c&heckpoints", "On the same pictures.", "compare", "Ctrl+Shift+4"),
    ("classes", "N&umbers by class", "What triggered images become.", "grid", "Ctrl+Shift+5"),
    ("text", "Te&xt side", "Captions and templates, one by one.", "text", "Ctrl+Shift+6"),
)

_VIEW: tuple[Command, ...] = (
    Command(
        "view.checkpoint", "&Checkpoint", "&View", station("checkpoint"), "What is this file?",
        "checkpoint", "Ctrl+1", 0, has_inspection, is_station("checkpoint"), "station", True,
    ),
    Command(
        "view.studio", "&Studio", "&View", station("studio"), "What does a trigger do?",
        "studio", "Ctrl+2", 0, has_checkpoint, is_station("studio"), "station", True,
    ),
    Command(
        "view.clean", "Clea&n", "&View", station("clean"), "Can the backdoor be removed?",
        "clean", "Ctrl+3", 0, has_work, is_station("clean"), "station", True,
    ),
    Command(
        "view.welcome", "&Welcome page", "&View", station("welcome"), "Back to the first page.",
        "back", "Ctrl+0", 0, None, is_station("welcome"), "station",
    ),
    *(
        Command(f"view.{name}", text, "&View", page(name), says, icon, keys, 5, has_checkpoint)
        for name, text, says, icon, keys in _WHY
    ),
    Command(
        "view.number", "How this was &measured…", "&View", lambda w: w.studio.details.show(),
        "Everything that is needed to get the same number again.", "info", "Ctrl+Shift+N", 5,
        lambda w: in_studio(w) and w.studio.details.can_show,
    ),
    Command(
        "view.light", "&Light", "&View", theme("light"), "Dark on light.", "sun", "", 1,
        None, is_theme("light"), "theme",
    ),
    Command(
        "view.dark", "&Dark", "&View", theme("dark"), "Light on dark.", "moon", "", 1,
        None, is_theme("dark"), "theme",
    ),
    Command(
        "view.system", "&As the desktop", "&View", theme("system"),
        "Follow the desktop's setting.", "settings", "", 1, None, is_theme("system"), "theme",
    ),
    Command(
        "view.switch_theme", "Switch &theme", "&View", lambda w: w.switch_theme(),
        "From light to dark and back.", "moon", "Ctrl+Shift+D", 2, rail=True,
    ),
    Command(
        "view.log", "L&og", "&View", lambda w: w.toggle_log(), "Show or hide the log.", "log",
        "Ctrl+L", 2, None, lambda w: not w.log_dock.isHidden(), rail=True,
    ),
    Command(
        "view.palette", "Command &palette…", "&View", lambda w: w.show_palette(),
        "Find a command by its name.", "search", "Ctrl+K", 2, rail=True,
    ),
    Command(
        "view.full_screen", "&Full screen", "&View", lambda w: w.toggle_full_screen(),
        "Fill the screen, for a talk.", "zoom-in", "F11", 2, None, lambda w: w.isFullScreen(),
    ),
)  # fmt: skip

_HELP: tuple[Command, ...] = (
    Command(
        "help.log_file", "Open the &log folder", "&Help", lambda w: w.open_log_folder(),
        "Where the log file lies.", "folder",
    ),
    Command(
        "help.about", "&About CleanCLIP GUI", "&Help", lambda w: w.show_about(),
        "Version, and what the program does not promise.", "info",
    ),
)  # fmt: skip

COMMANDS: tuple[Command, ...] = (*_FILE, *_STUDIO, *_CLEAN, *_VIEW, *_HELP)
