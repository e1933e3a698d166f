# shellcheck shell=sh disable=SC2034
# Stands before each of the file tools' scripts. Their first argument is the path that they are about. A script that
# ends by `refuse` or `refuse_call` has written one line for whoever called the tool: about the path, or about something
# else in the call. It comes last on stderr, behind a NUL, whatever other programs have written.

LC_ALL=C
export LC_ALL
refuse() { printf '\000%s' "$1" >&2; exit 90; }
refuse_call() { printf '\000%s' "$1" >&2; exit 91; }
# The reason in a message of a program, without the names before it: `head: x: Input/output error`.
reason() {
    first=${1%%"$newline"*}
    printf '%s' "${first##*: }"
}
newline='
'
must_be_a_file() {
    [ -d "$1" ] && refuse 'it is a directory'
    [ -e "$1" ] || refuse "there is no such file (the current directory is $PWD)"
    [ -f "$1" ] || refuse 'it is a device, pipe or socket, not a regular file'
    [ -r "$1" ] || refuse 'permission denied'
}
