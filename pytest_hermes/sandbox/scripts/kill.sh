# shellcheck shell=sh
# Kills all that carries a number and waits until it is gone, at first without a process of its own: there may be no
# room for one until something is killed. Arguments: the number, and where numbers cannot be given, what the wrapper's
# own arguments hold: then its process group is killed.

if [ -n "$2" ]; then
    for folder in /proc/[0-9]*; do
        pid=${folder#/proc/}
        [ "$pid" = $$ ] || [ "$pid" = $PPID ] && continue
        tr '\000' '\n' <"$folder/cmdline" 2>/dev/null | while IFS= read -r word; do
            [ "$word" = "$2" ] && kill -KILL "-$pid" 2>/dev/null
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
last='' tries=0
while find_them "$1"; [ -n "$found" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 500 ] || exit 1
    if [ "$found" != "$last" ]; then
        # Stopped before they are killed: what forks cannot outrun this loop.
        # shellcheck disable=SC2086
        kill -STOP $found 2>/dev/null
        last=$found
    else
        # shellcheck disable=SC2086
        kill -KILL $found 2>/dev/null
        # By then some have gone, and there is room for a process.
        [ "$tries" -lt 20 ] || sleep 0.01 2>/dev/null || sleep 1
    fi
done
