# shellcheck shell=bash disable=SC2154
# As run.sh, and saves the state. Saved where the command ends by itself, and by a trap where it exits.

eval "$1"; __hermes_watch; eval "$__hermes_command"; { __hermes_save "$?"; } 2>/dev/null; builtin exit "$__hermes_status"
