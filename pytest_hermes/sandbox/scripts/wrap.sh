# shellcheck shell=sh disable=SC3045
# Around each command where it is the command's streams alone that tell of it. Arguments: how its markers begin (without
# the NUL), its number, the folder, the bytes of its stdin (`all`: to its end, `none`: there is none), and the command's
# own.
#
# A command ends when its leader does. Whoever carries its streams, however, ends them only when nobody holds its pipes
# any more, and never says when the leader began; closing the streams leaves everything running. So this writes markers
# into both streams, and gives the command a number that all of its descendants carry: the soft limit on file locks.
# Linux has not enforced that one since version 2.4, processes inherit it through `setsid`, double forks and emptied
# environments, and /proc shows it for those of other users as well. Both serve commands that mean no harm: whoever is
# root here can read the markers' secret, and change its number.

__hermes_marker=$1 __hermes_number=$2 __hermes_folder=$3 __hermes_input=$4
shift 4
exec 8>&1 9>&2 2>/dev/null
ulimit -S -x "$__hermes_number" || ulimit -S -w "$__hermes_number"
printf '\0%sbeg\n' "$__hermes_marker" >&9
__hermes_run() (
    case $1 in
        */*) ;;
        *) command -v "$1" >/dev/null || { printf '%s: command not found\n' "$1" >&9; exit 127; } ;;
    esac
    unset OLDPWD
    exec "$@" 2>&9 8>&- 9>&-
)
if ! cd -- "$__hermes_folder"; then
    printf "cannot start in '%s': there is no such folder, or it cannot be entered\n" "$__hermes_folder" >&9
    __hermes_code=126
else
    case $__hermes_input in
        none) __hermes_run "$@" </dev/null ;;
        all) __hermes_run "$@" ;;
        *) head -c "$__hermes_input" | __hermes_run "$@" ;;
    esac
    __hermes_code=$?
fi
printf '\0%s%03d\n' "$__hermes_marker" "$__hermes_code" >&9
printf '\0%s%03d\n' "$__hermes_marker" "$__hermes_code" >&8
