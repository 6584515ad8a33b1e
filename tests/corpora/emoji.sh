#!/usr/bin/env bash
# emoji.sh DEST: fetches two artists' emoji (Debian) and their captions (npm), writes them as an img2dataset folder, and DEST/emoji.toml:
#   bash tests/corpora/emoji.sh .corpora/emoji && tamis ingest .corpora/emoji/emoji.toml
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dest=$(mkdir -p "$1" && cd "$1" && pwd)
python=${PYTHON:-python3}
bash "$here/get.sh" "$dest/deb" ruby-gemojione ruby-tanuki-emoji
if [ ! -d "$dest/emojibase" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  (cd "$work" && npm pack --silent emojibase-data@17.0.0 >/dev/null && tar xf emojibase-data-*.tgz)
  mv "$work/package" "$dest/emojibase"
fi
"$python" "$here/emoji.py" "$dest/deb" "$dest/emojibase" "$dest/pictures"
cat >"$dest/emoji.toml" <<TOML
dataset = "$dest/set"
inputs = ["$dest/pictures"]
[text]
min_words = 1
[clip]
threshold = -1.0
[fetch]
robots = false
resize_px = 64
[filters]
min_px = 16
TOML
echo "now: tamis ingest $dest/emoji.toml"
