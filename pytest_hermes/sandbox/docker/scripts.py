"""What runs inside a container besides the commands: POSIX shell, as every image's `sh` understands it.

A command ends when its leader does. The engine, however, ends an exec's stream only when nobody holds its pipes any
more, and never says when the leader began; closing the stream leaves everything running. So the wrapper around each
command writes marks into both streams, which nobody else can guess beforehand, and gives the command a number that
all of its descendants carry: the soft limit on file locks. Linux has not enforced that one since version 2.4, processes
inherit it through `setsid`, double forks and emptied environments, and /proc shows it for those of other users as well.
"""

from __future__ import annotations

#: Bytes between a mark's beginning and its end: `beg`, or the exit code in three digits.
MARK_FIELD = 3


def mark_prefix(nonce: str) -> bytes:
    """Return how the marks of a command begin."""
    return b"\0hermes:" + nonce.encode() + b":"


#: The container's main process. It says where it is, then waits until whoever started the container is gone.
#: Arguments: the folder to start in, which may be relative to the home folder, and the scratch folder.
MAIN = r"""
: "${HOME:=/}"
case $1 in
    /*) ;;
    *) cd -- "$HOME" 2>/dev/null || cd / && mkdir -p -- "$1" || exit 1 ;;
esac
cd -- "$1" && umask 077 && mkdir -p -- "$2" || exit 1
bash=; command -v bash >/dev/null && bash=1
numbered=; (ulimit -S -x 77777 || ulimit -S -w 77777) 2>/dev/null && numbered=1
printf '%s\0%s\0%s\0%s\0.' "$HOME" "$PWD" "$bash" "$numbered"
command -v cat >/dev/null && exec cat >/dev/null
while read -r line; do :; done
"""

#: Around each command. Arguments: how its marks begin (without the NUL), its number, the folder, the bytes of its
#: standard input (`all`: to its end, `none`: there is none), and the command's own.
WRAP = r"""
mark=$1 number=$2 folder=$3 input=$4
shift 4
exec 8>&1 9>&2 2>/dev/null
ulimit -S -x "$number" || ulimit -S -w "$number"
printf '\0%sbeg\n' "$mark" >&9
run() (
    case $1 in
        */*) ;;
        *) command -v "$1" >/dev/null || { printf '%s: command not found\n' "$1" >&9; exit 127; } ;;
    esac
    unset OLDPWD
    exec "$@" 2>&9 8>&- 9>&-
)
if ! cd -- "$folder"; then
    printf "cannot start in '%s': there is no such folder, or it cannot be entered\n" "$folder" >&9
    code=126
else
    case $input in
        none) run "$@" </dev/null ;;
        all) run "$@" ;;
        *) head -c "$input" | run "$@" ;;
    esac
    code=$?
fi
printf '\0%s%03d\n' "$mark" "$code" >&9
printf '\0%s%03d\n' "$mark" "$code" >&8
"""

#: Kills all that carries a number and waits until it is gone. Argument: the number.
KILL = r"""
last= tries=0
while found=$(grep -l "^Max file locks  *$1 " /proc/[0-9]*/limits 2>/dev/null); [ -n "$found" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 500 ] || exit 1
    pids=
    for path in $found; do path=${path#/proc/} pids="$pids ${path%%/*}"; done
    if [ "$found" != "$last" ]; then
        # Stopped before they are killed: what forks cannot outrun this loop.
        kill -STOP $pids 2>/dev/null
        last=$found
    else
        kill -KILL $pids 2>/dev/null
        sleep 0.01 2>/dev/null || sleep 1
    fi
done
"""
