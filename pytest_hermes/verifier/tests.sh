# shellcheck shell=sh disable=SC3013
# Runs in the sandbox around a task's tests, with the commands that busybox has. Arguments: what to do, the folders of
# tests and of logs, the bytes that are kept of any file that the tests leave, and the command that tests. What to do:
#
#     prepare  puts the tests, a tar on stdin, where the user that runs them can read them and leave a reward
#     test     runs tests that were put there, and reports
#     run      does both, where one user may do everything
#
# One command does everything, because each one costs the Docker engine as much time as all of this. Where an
# image's commands do not run as root, root does the first half in a command of its own. Its own commands come from the
# system's folders first, whatever is in PATH. `-nt` is in no standard, but in every shell that images have.
#
# Exit codes: 92 when the folders cannot be emptied, 93 when the tests cannot be put there. What the tests print goes to
# stderr. The report is on stdout: a line `exit CODE KILLED`, where KILLED is how many processes were killed for want of
# memory meanwhile; for each file that the tests left a line `file NAME BYTES` and its content, or a line
# `unfit NAME WHY`; and a line `end`.

given=$PATH
PATH=/bin:/usr/bin:/sbin:/usr/sbin:$PATH
umask 022
step=$1 tests=$2 logs=$3 large=$4
shift 4

killed() {
    count=0
    # Of control groups in their second version, and in their first.
    for events in /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control; do
        [ -r "$events" ] || continue
        while read -r key value; do
            [ "$key" = oom_kill ] && count=$value
        done <"$events"
    done
}

# A folder that is private to this command is mounted, and cannot be removed.
emptied() {
    if [ -d "$1" ] && [ ! -L "$1" ]; then
        rm -rf -- "${1:?}"/* "$1"/.[!.]* "$1"/..?* || return 1
        rmdir -- "$1" 2>/dev/null || :
    else
        rm -rf -- "$1" || return 1
    fi
    mkdir -p -- "$1"
}

case $step in
    prepare | run)
        { emptied "$tests" && emptied "$logs"; } || exit 92
        tar -x -o -f - -C "$tests" || exit 93
        ;;
esac
case $step in
    prepare) chmod -R a+rX -- "$tests" && chmod 777 -- "$logs" || exit 93; exit ;;
esac

# What a process that the agent left running moves here was written before.
started=$logs/.started
: >"$started"
killed
before=$count
PATH=$given "$@" </dev/null >&2
code=$?
killed
echo "exit $code $((count - before))"
for name in reward.json reward.txt ctrf.json; do
    file=$logs/$name
    if [ -L "$file" ] || { [ -e "$file" ] && [ ! -f "$file" ]; }; then
        echo "unfit $name is not a regular file"
    elif [ -e "$file" ] && [ "$started" -nt "$file" ]; then
        echo "unfit $name is older than the start of the tests"
    elif [ -e "$file" ]; then
        size=$(wc -c <"$file")
        size=$((size))
        [ "$size" -le "$large" ] || size=$large
        echo "file $name $size"
        tail -c "$size" -- "$file"
    fi
done
echo end
