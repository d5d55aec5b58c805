#!/usr/bin/env bash
# Speak the example recordings with espeak-ng: ten digits in ten voices, and a number of seven digits with pauses.
# `-z` leaves out the pause at the end. The same version of espeak-ng writes the same bytes.
# Usage: bash examples/make_examples.sh [FOLDER]
set -euo pipefail

folder=${1:-$(dirname "$0")}
command -v espeak-ng >/dev/null || { echo "make_examples.sh needs espeak-ng: apt-get install espeak-ng" >&2; exit 2; }
mkdir -p "$folder"

# word            voice            words per minute   pitch (0 to 99)
while read -r word voice speed pitch; do
    espeak-ng -z -v "$voice" -s "$speed" -p "$pitch" -w "$folder/$word.wav" "$word"
done <<'VOICES'
zero   en-us            140   50
one    en-gb            130   40
two    en-us+f2         140   50
three  en-gb-x-rp       140   45
four   en-us+m3         130   35
five   en-gb+f3         140   55
six    en-us+m7         130   50
seven  en-gb-scotland   150   45
eight  en-us+f4         130   60
nine   en-gb-x-rp+f2    140   50
VOICES

# The pauses are what `--split` cuts at.
pause='<break time="400ms"/>'
espeak-ng -z -m -v en-us -s 150 -p 45 -w "$folder/phone-number.wav" \
    "five $pause five $pause five $pause zero $pause one $pause two $pause three"
