#!/usr/bin/env bash
# Speech to call with: speech.sh OUT.wav [female]. About 8 s, 48 kHz, 16 bit, mono, a second of silence around it.
set -euo pipefail
out=$1
voice=en-us
[ "${2:-}" = female ] && voice=en-us+f3
words="The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background.
It is easy to tell the depth of a well. These days a chicken leg is a rare dish."
raw=$(mktemp --suffix .wav)
trap 'rm -f "$raw"' EXIT
espeak-ng -v "$voice" -s 165 -w "$raw" "$words"
# A band that all codecs carry, a level that leaves headroom; dithering would add what nobody said.
sox -D "$raw" -r 48000 -b 16 -c 1 "$out" highpass 60 norm -6 pad 0.5 0.5
