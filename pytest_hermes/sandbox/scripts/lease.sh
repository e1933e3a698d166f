# shellcheck shell=sh disable=SC3045
# The main process of a container, which nothing in the container can kill. It answers an empty line on its stdin by
# saying where it is, and ends at any other line, and when nobody holds its stdin any more. Arguments: the folder to start
# in, which may be relative to the home folder, and the scratch folder.
#
# It starts no process: there may be no room for one, and a child could be killed. What is left behind by others becomes
# its child, though. Shells take note of children that have ended while `jobs` runs, if not by themselves. A signal
# interrupts `read`, which then fails as it does at the end.

: "${HOME:=/}"
case $1 in
    /*) ;;
    *) cd -- "$HOME" 2>/dev/null || cd / && mkdir -p -- "$1" || exit 1 ;;
esac
cd -- "$1" && umask 077 && mkdir -p -- "$2" || exit 1
# Not to be ended by what an agent sends to processes by a part of their names, where this is not process 1.
trap '' TERM HUP INT QUIT
bash=; command -v bash >/dev/null && bash=1
numbered=; (ulimit -S -x 77777 || ulimit -S -w 77777) 2>/dev/null && numbered=1
user=
while read -r key _ effective _; do [ "$key" = Uid: ] && user=$effective; done <"/proc/$$/status"
trap 'jobs >/dev/null; orphan=1' CHLD
while orphan=; do
    if read -r line; then
        [ -z "$line" ] || exit
        printf '%s\0%s\0%s\0%s\0%s\0.' "$HOME" "$PWD" "$bash" "$numbered" "$user"
    elif [ -z "$orphan" ]; then
        exit
    fi
done
