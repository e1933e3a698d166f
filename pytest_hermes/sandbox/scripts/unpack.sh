# shellcheck shell=sh
# Unpacks the tar on stdin. Arguments: the folder, and `-o` unless the files belong to those whom the tar names.

# shellcheck disable=SC2086
mkdir -p -- "$1" && exec tar -x -p $2 -f - -C "$1"
