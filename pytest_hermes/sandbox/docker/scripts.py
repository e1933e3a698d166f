"""What runs inside a container besides the commands: POSIX shell, as every image's `sh` understands it.

A command ends when its leader does. The engine, however, ends an exec's stream only when nobody holds its pipes any
more, and never says when the leader began; closing the stream leaves everything running. So the wrapper around each
command writes marks into both streams, and gives the command a number that all of its descendants carry: the soft limit
on file locks. Linux has not enforced that one since version 2.4, processes inherit it through `setsid`, double forks
and emptied environments, and /proc shows it for those of other users as well. Both serve commands that mean no harm:
whoever is root in the container can read the marks' secret, and change his number.
"""

from __future__ import annotations

#: Bytes between a mark's beginning and its end: `beg`, or the exit code in three digits.
MARK_FIELD = 3


def mark_prefix(mark: str) -> bytes:
    """Return how the marks of a command begin; `mark` is what the wrapper was given."""
    return b"\0" + mark.encode()


#: The container's main process. It says where it is, then waits until whoever started the container is gone.
#: Arguments: the folder to start in, which may be relative to the home folder, and the scratch folder.
MAIN = r"""
: "${HOME:=/}"
case $1 in
    /*) ;;
    *) cd -- "$HOME" 2>/dev/null || cd / && mkdir -p -- "$1" || exit 1 ;;
esac
cd -- "$1" && umask 077 && mkdir -p -- "$2" || exit 1
# Not to be ended by what an agent sends to processes by a part of their names.
trap '' TERM HUP INT QUIT
bash=; command -v bash >/dev/null && bash=1
numbered=; (ulimit -S -x 77777 || ulimit -S -w 77777) 2>/dev/null && numbered=1
user=
while read -r key real effective rest; do [ "$key" = Uid: ] && user=$effective; done <"/proc/$$/status"
printf '%s\0%s\0%s\0%s\0%s\0.' "$HOME" "$PWD" "$bash" "$numbered" "$user"
command -v cat >/dev/null && exec cat >/dev/null
while read -r line; do :; done
"""

#: Around each command. Arguments: how its marks begin (without the NUL), its number, the folder, the bytes of its
#: standard input (`all`: to its end, `none`: there is none), and the command's own.
WRAP = r"""
__hermes_mark=$1 __hermes_number=$2 __hermes_folder=$3 __hermes_input=$4
shift 4
exec 8>&1 9>&2 2>/dev/null
ulimit -S -x "$__hermes_number" || ulimit -S -w "$__hermes_number"
printf '\0%sbeg\n' "$__hermes_mark" >&9
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
printf '\0%s%03d\n' "$__hermes_mark" "$__hermes_code" >&9
printf '\0%s%03d\n' "$__hermes_mark" "$__hermes_code" >&8
"""

#: Kills all that carries a number and waits until it is gone, at first without a process of its own: there may be no
#: room for one until something is killed. Arguments: the number, and where numbers cannot be given, what the wrapper's
#: own arguments hold: then its process group is killed.
KILL = r"""
if [ -n "$2" ]; then
    for folder in /proc/[0-9]*; do
        pid=${folder#/proc/}
        [ "$pid" = $$ ] || [ "$pid" = $PPID ] && continue
        tr '\000' '\n' <"$folder/cmdline" 2>/dev/null | while IFS= read -r word; do
            [ "$word" = "$2" ] && kill -KILL -- "-$pid" 2>/dev/null
        done
    done
    exit 0
fi
find_them() {
    found=
    for path in /proc/[0-9]*/limits; do
        while read -r max file locks soft rest; do
            [ "$max $file $locks" = "Max file locks" ] || continue
            [ "$soft" = "$1" ] && path=${path#/proc/} found="$found ${path%%/*}"
            break
        done 2>/dev/null <"$path"
    done
}
last= tries=0
while find_them "$1"; [ -n "$found" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 500 ] || exit 1
    if [ "$found" != "$last" ]; then
        # Stopped before they are killed: what forks cannot outrun this loop.
        kill -STOP $found 2>/dev/null
        last=$found
    else
        kill -KILL $found 2>/dev/null
        # By then some have gone, and there is room for a process.
        [ "$tries" -lt 20 ] || sleep 0.01 2>/dev/null || sleep 1
    fi
done
"""
