# shellcheck shell=sh
# Writes where a path leads in a sandbox: what the agent works on may be a symlink in the image. Argument: the path.

if [ -d "$1" ]; then
    cd -- "$1" && pwd -P
else
    printf '%s\n' "$1"
fi
