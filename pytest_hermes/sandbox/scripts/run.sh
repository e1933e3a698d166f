# shellcheck shell=sh disable=SC2154
# Runs the command (on stdin) with the session's state, which stays as it was. Argument: the code of the session. One
# line, so that the line numbers in the shell's messages are those of the command.

eval "$1"; eval "$__hermes_command"
