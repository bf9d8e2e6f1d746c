#!/usr/bin/env bash
# Writes sentences.wav, which the program embeds: three sentences by two synthetic voices, 8 s, 16 kHz, 16 bit, mono.
# The text is from the Harvard sentences (IEEE, 1969); espeak-ng's voices are synthesized, so it is nobody's recording.
set -euo pipefail
cd "$(dirname "$0")"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
say() { # say NUMBER VOICE TEXT
    espeak-ng -v "$2" -s 165 -w "$folder/raw.wav" "$3"
    sox -D "$folder/raw.wav" -r 16000 -b 16 -c 1 "$folder/$1.wav" highpass 60 \
        silence 1 0.01 0.5% reverse silence 1 0.01 0.5% reverse norm -6 pad 0.15 0.15
}
say 1 en-us "The birch canoe slid on the smooth planks."
say 2 en-us+f3 "Glue the sheet to the dark blue background."
say 3 en-us "It is easy to tell the depth of a well."
# Whole frames of 20 ms, so that it can be said again and again without a seam.
# -V1: cutting in the padding is meant.
sox -V1 -D "$folder/1.wav" "$folder/2.wav" "$folder/3.wav" sentences.wav pad 0 5 trim 0 128000s
