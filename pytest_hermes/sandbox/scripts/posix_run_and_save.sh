# shellcheck shell=sh disable=SC2154
# As run.sh, and saves the state, also where the command ends by `exit`.

eval "$1"; trap '__hermes_save "$?"' EXIT; eval "$__hermes_command"; __hermes_save "$?"
