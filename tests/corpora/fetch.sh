#!/usr/bin/env bash
# fetch.sh DEST: unpacks the Debian packages that the real-crawl tests use, and crawls them over loopback into WARC files.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dest=$(mkdir -p "$1" && cd "$1" && pwd)
bash "$here/get.sh" "$dest/deb" gimp-help-en gimp-help-ja openclipart-png openclipart-svg tuxpaint-stamps-default
for language in en ja; do
  [ -e "$dest/crawl/gimp-$language-meta.warc.gz" ] && continue
  bash "$here/crawl.sh" "$dest/deb/gimp-help-$language/usr/share/gimp/2.0/help" "$language/index.html" "gimp-$language" "$dest/crawl"
done
if [ ! -d "$dest/pywb" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  python3 -m pip download --quiet --no-deps --no-binary :all: -d "$work" pywb
  python3 - "$work" "$dest/pywb" <<'PY'
import pathlib, sys, tarfile
work, dest = map(pathlib.Path, sys.argv[1:])
for archive in work.glob("pywb*.tar.gz"):
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and "/sample_archive/warcs/" in member.name:
                dest.mkdir(parents=True, exist_ok=True)
                (dest / pathlib.PurePath(member.name).name).write_bytes(tar.extractfile(member).read())
PY
fi
