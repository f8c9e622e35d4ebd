#!/bin/sh
# Checks a tree as packaging/deb/build.py lays it: desktop entry, AppStream, MIME types.
# desktop.sh TREE
set -eu
share=$1/usr/share
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

desktop-file-validate "$share/applications/cleanclip-gui.desktop"
echo "desktop-file-validate: nothing to say"
# Without a public address there are no reverse domain name and no homepage to be named; build.py
# writes both, and the screenshots, once pyproject.toml has one.
appstreamcli validate --no-net \
  --override=cid-desktopapp-is-not-rdns=info,url-homepage-missing=info "$share"/metainfo/*.xml
if [ -f "$1.addressed.xml" ]; then appstreamcli validate --no-net "$1.addressed.xml"; fi

# An empty home and a database of our own: what does a user's file manager see?
export HOME=$scratch XDG_DATA_HOME=$scratch/data XDG_CONFIG_HOME=$scratch/config
export XDG_DATA_DIRS=$XDG_DATA_HOME:/usr/share XDG_UTILS_DEBUG_LEVEL=0
mkdir -p "$XDG_DATA_HOME/mime/packages" "$XDG_DATA_HOME/applications" "$XDG_CONFIG_HOME"
cp "$share/mime/packages/cleanclip-gui.xml" "$XDG_DATA_HOME/mime/packages/"
cp "$share/applications/cleanclip-gui.desktop" "$XDG_DATA_HOME/applications/"
update-mime-database "$XDG_DATA_HOME/mime"
update-desktop-database "$XDG_DATA_HOME/applications"
cd "$scratch"
python3 - <<'PYTHON'
import zipfile
for name in ("a.evidence.zip", "renamed"):
    with zipfile.ZipFile(name, "w") as archive:
        archive.writestr("README.txt", "This folder is evidence about a CLIP checkpoint, written")
with zipfile.ZipFile("other.zip", "w") as archive:
    archive.writestr("README.txt", "Something else")
PYTHON
: >m.safetensors; : >m.pt; : >m.gguf; : >m.onnx
expect() {
  told=$(xdg-mime query filetype "$1")
  [ "$told" = "$2" ] || { echo "xdg-mime says $1 is $told and not $2" >&2; exit 1; }
  echo "xdg-mime: $1 is $told"
}
expect a.evidence.zip application/x-cleanclip-evidence+zip
expect renamed application/x-cleanclip-evidence+zip
expect other.zip application/zip
expect m.safetensors application/x-safetensors
expect m.pt application/x-pytorch-checkpoint
expect m.gguf application/x-gguf
expect m.onnx application/x-onnx
for type in application/x-cleanclip-evidence+zip application/x-safetensors \
  application/x-pytorch-checkpoint application/x-gguf application/x-onnx inode/directory; do
  grep -q "^$type=.*cleanclip-gui.desktop" "$XDG_DATA_HOME/applications/mimeinfo.cache" ||
    { echo "$type is not opened with cleanclip-gui" >&2; exit 1; }
done
echo "Open with: all six types"
